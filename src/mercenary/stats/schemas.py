"""What statistics look like on the wire, coming in and going out."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from mercenary.http.lists import ListQuery
from mercenary.http.wire import Id, Timestamp

DAYS: Final = 30
MOST_DAYS: Final = 366
FEWEST_BIDDERS: Final = 5
_SEALED: Final = (
    "Of proposals that weren't withdrawn, for projects that aren't open any more, in a currency in "
    f"which at least {FEWEST_BIDDERS} freelancers have made some: a bid is nobody's business but "
    "its two parties'."
)


class Quartiles(msgspec.Struct, frozen=True):
    """Amounts in one currency: how many there are, and what a quarter, half, three quarters of them
    are below. Between two amounts the value is interpolated.
    """

    example: ClassVar[dict[str, Any]] = {
        "currency": "USD",
        "count": 212,
        "lower_quartile": "600.00",
        "median": "1250.00",
        "upper_quartile": "2400.00",
    }

    currency: str
    count: int
    lower_quartile: Decimal
    median: Decimal
    upper_quartile: Decimal


Budgets = Annotated[
    list[Quartiles],
    Meta(description="Of published projects; the currency with the most of them comes first."),
]
Bids = Annotated[
    list[Quartiles],
    Meta(description=_SEALED),
]


class SkillStats(msgspec.Struct, frozen=True):
    """How much a skill is asked for, how many offer it, and for what. `id` is the skill's."""

    example: ClassVar[dict[str, Any]] = {
        "id": 4,
        "name": "Python",
        "demand": 38,
        "projects": 212,
        "supply": 91,
        "budgets": [Quartiles.example],
        "bids": [
            {
                "currency": "USD",
                "count": 640,
                "lower_quartile": "540.00",
                "median": "1120.00",
                "upper_quartile": "2250.00",
            }
        ],
    }

    id: int
    name: str
    demand: Annotated[int, Meta(description="Open projects that need it.")]
    projects: Annotated[int, Meta(description="All that were ever published and need it.")]
    supply: Annotated[int, Meta(description="Active freelancers who have it.")]
    budgets: Budgets
    bids: Bids


class SkillStatsQuery(ListQuery):
    """Filters and order of the statistics of skills."""

    skill: Annotated[Id | None, Meta(description="Just this skill.")] = None
    q: (
        Annotated[
            str,
            Meta(
                min_length=1, max_length=80, description="The beginning of a name, or one like it."
            ),
        ]
        | None
    ) = None
    sort: Annotated[
        Literal["demand", "-demand", "supply", "-supply", "name"],
        Meta(description="The most wanted first where none is given."),
    ] = "-demand"


class SignUps(msgspec.Struct, frozen=True):
    """Accounts that are active, by role."""

    client: int = 0
    freelancer: int = 0


class Published(msgspec.Struct, frozen=True):
    """Published projects by the status that they have come to."""

    open: int = 0
    in_progress: int = 0
    completed: int = 0
    cancelled: int = 0


class MarketplaceDay(msgspec.Struct, frozen=True):
    """What began on a day (UTC), and what was agreed on."""

    day: date
    sign_ups: SignUps = SignUps()
    projects: Published = Published()
    budgets: Budgets = []
    proposals: Annotated[
        int, Meta(description="Made on this day, by active accounts, and not withdrawn.")
    ] = 0
    hires: Annotated[int, Meta(description="Proposals that were accepted on this day.")] = 0
    bids: Bids = []


class MarketplaceStats(msgspec.Struct, frozen=True):
    """The marketplace day by day, the earliest first; a day without anything is there, too."""

    example: ClassVar[dict[str, Any]] = {
        "refreshed_at": "2026-11-23T10:00:00.000000Z",
        "days": [
            {
                "day": "2026-11-22",
                "sign_ups": {"client": 4, "freelancer": 11},
                "projects": {"open": 9, "in_progress": 3, "completed": 0, "cancelled": 1},
                "budgets": [Quartiles.example],
                "proposals": 57,
                "hires": 6,
                "bids": [],
            }
        ],
    }

    refreshed_at: Timestamp
    days: Annotated[list[MarketplaceDay], Meta(max_length=MOST_DAYS)]


class MarketplaceQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which days are told of, both ends included."""

    from_: (
        Annotated[
            date,
            Meta(description=f"The first day (UTC); by default {DAYS} days end with the last."),
        ]
        | None
    ) = msgspec.field(default=None, name="from")
    to: (
        Annotated[
            date,
            Meta(
                description="The last day (UTC); by default the one of the last refresh, which "
                f"nothing goes beyond. No more than {MOST_DAYS} days from the first."
            ),
        ]
        | None
    ) = None
