"""What the health endpoints answer."""

from typing import Any, ClassVar, Literal

import msgspec

from mercenary.http.wire import Timestamp

State = Literal["ok", "unavailable"]


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    example: ClassVar[dict[str, Any]] = {"status": "alive"}

    status: Literal["alive"] = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Requests can be served."""

    example: ClassVar[dict[str, Any]] = {"status": "ready"}

    status: Literal["ready"] = "ready"


class Services(msgspec.Struct, frozen=True):
    """The servers behind the API. Without the cache it is slower and never wrong."""

    database: State
    cache: State


class Health(msgspec.Struct, frozen=True):
    """Everything at a glance: degraded without the cache, unavailable without the database."""

    example: ClassVar[dict[str, Any]] = {
        "status": "ok",
        "version": "0.1.0",
        "timestamp": "2026-11-23T10:00:00.000000Z",
        "services": {"database": "ok", "cache": "ok"},
    }

    status: Literal["ok", "degraded", "unavailable"]
    version: str
    timestamp: Timestamp
    services: Services
