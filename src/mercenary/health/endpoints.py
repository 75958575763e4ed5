"""Health: for whoever restarts processes, routes traffic, or wants to know at a glance.

None of them counts against a limit, asks who calls, or is kept by any cache.
"""

from typing import Annotated

import msgspec

from mercenary.errors import Unavailable
from mercenary.health import service
from mercenary.health.schemas import Alive, Health, Ready
from mercenary.http.access import anyone
from mercenary.http.endpoint import UNLIMITED, Content, Sends, endpoint

_HEADERS = (("Cache-Control", "no-store"),)
_AWAY = Health.example | {
    "status": "unavailable",
    "services": {"database": "unavailable", "cache": "ok"},
}


@endpoint("GET", "/livez", access=anyone, rate=UNLIMITED, base="")
async def show_liveness() -> Alive:
    """Tell that the process answers. Asks no server behind it, whose absence no restart mends."""
    return Alive()


@endpoint("GET", "/readyz", access=anyone, rate=UNLIMITED, problems=(Unavailable,), base="")
async def show_readiness() -> Ready:
    """Tell whether requests can be served: the database answers and its schema is current."""
    return await service.readiness()


@endpoint("GET", "/health", access=anyone, rate=UNLIMITED, base="")
async def show_health() -> Annotated[
    Content,
    Sends(body=Health, headers=("Cache-Control",), description="Requests are served."),
    Sends(
        status=503,
        body=Health,
        headers=("Cache-Control",),
        description="The database is away.",
        example=_AWAY,
    ),
]:
    """Sum up the state of the API and the servers behind it.

    `degraded` means that the cache is away: slower, and never wrong.
    """
    health = await service.health()
    return Content(
        msgspec.json.encode(health),
        status=503 if health.status == "unavailable" else 200,
        headers=_HEADERS,
    )
