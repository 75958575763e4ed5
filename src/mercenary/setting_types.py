"""Types of settings that count or time something, with the bounds of what makes sense."""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
WholeSeconds = Annotated[int, Meta(ge=1, le=31_536_000)]
