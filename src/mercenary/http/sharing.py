"""What a request of a shared endpoint asks for: the key that its answer is kept under.

A key is made of what the endpoint has read, and of nothing that the request merely says: the method
and the route, the ids in the path, and the parameters with their defaults, in the order of their
declaration. So requests that mean the same share an answer, however they are spelt, and whatever
the endpoint tells apart, the key does. There is one view, a guest's; whoever is answered
differently isn't answered from the cache.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from mercenary.cache.entries import Want
from mercenary.http.fields import NameList
from mercenary.http.kept import Kept

_LARGEST: Final = 2**63 - 1
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=str)


class Shared(msgspec.Struct, frozen=True):
    """One answer that may be shared. `fill` makes it; `apart` tells whose is another."""

    want: Want[Kept]
    fill: Callable[[], Awaitable[Kept]]
    apart: Callable[[int], bool] | None


def canonical(path: dict[str, Any], query: msgspec.Struct) -> bytes:
    """The ids and parameters of a request as bytes, the same for all that mean the same.

    MessagePack tells types and lengths, so different values never give the same bytes.
    """
    values = [_settled(getattr(query, name)) for name in query.__struct_fields__]
    return _encoder.encode((path, values))


def _settled(value: Any) -> Any:
    """A parameter that may be repeated means a set; one that names fields has an order already."""
    if isinstance(value, int) and value > _LARGEST:
        return str(value)
    if isinstance(value, tuple) and not isinstance(value, NameList):
        return sorted(set(value))
    return value
