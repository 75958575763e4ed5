"""Three accounts with passwords that everybody can read here, for trying things out.

They exist in development only; `seed` refuses to make them in production.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from mercenary.seeding.population import DAY, SKILL_IDS, Person, Row, moment


@dataclass(frozen=True)
class DemoAccount:
    """A login that `mercenary up` prints."""

    email: str
    password: str
    name: str
    role: str
    headline: str
    bio: str = ""
    skills: tuple[tuple[str, int], ...] = ()


ADMIN: Final = DemoAccount(
    "admin@demo.mercenary.example", "admin-looks-after-it-7", "Ada Demo", "admin", ""
)
CLIENT: Final = DemoAccount(
    "client@demo.mercenary.example",
    "client-posts-projects-7",
    "Clara Demo",
    "client",
    "Owner at a chain of bicycle shops",
)
FREELANCER: Final = DemoAccount(
    "freelancer@demo.mercenary.example",
    "freelancer-makes-bids-7",
    "Farid Demo",
    "freelancer",
    "PostgreSQL and Python, on time",
    "I make slow things fast and write down how. Before that I ran the back end of a bicycle shop.",
    (("PostgreSQL", 5), ("Python", 5), ("REST APIs", 4), ("Docker", 3)),
)
DEMO_ACCOUNTS: Final = (ADMIN, CLIENT, FREELANCER)


@dataclass(frozen=True)
class _Project:
    """A project of the demo client's: days before the epoch, and what became of it."""

    title: str
    description: str
    budget: int
    status: str
    days: int
    skills: tuple[str, ...]
    # Bids of other freelancers and, where not None, the status of the demo freelancer's own.
    others: int = 0
    own: str | None = None
    version: int = 1

    @property
    def bids(self) -> int:
        """How many there are; none was withdrawn."""
        return self.others + (self.own is not None)


_PROJECTS: Final = (
    _Project(
        "Booking page for bicycle repairs",
        "Customers choose a shop, a day and a repair, and pay when they collect the bicycle. The "
        "design is done in Figma. We want it to work on old phones.",
        3500, "completed", 200, ("React", "TypeScript"), 4, "rejected", 4,
    ),
    _Project(
        "Stock of five shops in one PostgreSQL database",
        "At present each shop keeps its own list. We need one database, an import of the old "
        "lists, and a way to see what is where. Please plan for the sixth shop.",
        4800, "in_progress", 40, ("PostgreSQL", "Python"), 5, "accepted", 3,
    ),
    _Project(
        "REST API between the till and the stock",
        "The till can send every sale as JSON. Each sale has to be booked exactly once, also when "
        "the network fails in the middle. Tests come with it.",
        2600, "open", 6, ("REST APIs", "Python", "PostgreSQL"), 3, "pending",
    ),
    _Project(
        "Logo and signs for the sixth shop",
        "The logo stays recognizable and gets calmer. We need it for a sign of four metres and "
        "for a stamp of two centimetres.",
        900, "open", 3, ("Logo Design", "Print Design"), 2,
    ),
    _Project(
        "Newsletter for spring",
        "Four issues, plain words, one picture each. We collect the topics, you write.",
        600, "cancelled", 90, ("Newsletter Writing",), version=2,
    ),
    _Project(
        "Forecast of spare parts",
        "Which parts will we need next month? Six years of sales are there.",
        5200, "draft", 1, ("Forecasting", "SQL"),
    ),
)  # fmt: skip
_LETTER: Final = (
    "Hello Clara,\n\nI have done this for another shop last year and would begin with a day of "
    "reading. The price is fixed.\n\nKind regards"
)


def profile_rows(first_id: int) -> list[Row]:
    """Users as `population.USER_COLUMNS`, from an id on."""
    joined = moment(-400 * DAY)
    return [
        (
            first_id + place, joined, joined, account.role, account.email, account.name, "DE",
            "EUR", Decimal(75) if account.skills else None, account.headline, account.bio,
        )
        for place, account in enumerate(DEMO_ACCOUNTS)
    ]  # fmt: skip


def user_skill_rows(first_id: int) -> list[Row]:
    """(user_id, skill_id, level)."""
    return [
        (first_id + place, SKILL_IDS[skill], level)
        for place, account in enumerate(DEMO_ACCOUNTS)
        for skill, level in account.skills
    ]


def project_rows(first_id: int, first_user_id: int) -> list[Row]:
    """Projects as `marketplace.PROJECT_COLUMNS`."""
    client_id = first_user_id + DEMO_ACCOUNTS.index(CLIENT)
    return [
        (
            first_id + place, client_id, moment(-each.days * DAY), moment(_last_change(each)),
            each.version, each.bids, each.status, "EUR", Decimal(each.budget), each.title,
            each.description, _bid(each, 0) if each.bids else None, CLIENT.name,
        )
        for place, each in enumerate(_PROJECTS)
    ]  # fmt: skip


def project_skill_rows(first_id: int) -> list[Row]:
    """(project_id, skill_id)."""
    return [
        (first_id + place, SKILL_IDS[skill])
        for place, each in enumerate(_PROJECTS)
        for skill in each.skills
    ]


def proposal_rows(
    first_id: int, first_project_id: int, first_user_id: int, others: list[Person]
) -> list[Row]:
    """Proposals as `marketplace.PROPOSAL_COLUMNS`; `others` are freelancers who bid, too."""
    own_id = first_user_id + DEMO_ACCOUNTS.index(FREELANCER)
    rows: list[Row] = []
    for place, project in enumerate(_PROJECTS):
        bids = [
            (others[index].id, _status_of_others(project, index)) for index in range(project.others)
        ]
        if project.own is not None:
            bids.append((own_id, project.own))
        for turn, (freelancer_id, status) in enumerate(bids):
            made = -project.days * DAY + (turn + 1) * DAY // 8
            decided = status != "pending"
            rows.append(
                (
                    first_id + len(rows), first_project_id + place, freelancer_id, moment(made),
                    moment(_decision(project) if decided else made), 2 if decided else 1,
                    5 + 3 * turn, status, "EUR", _bid(project, turn), _LETTER,
                )
            )  # fmt: skip
    return rows


def _bid(project: _Project, turn: int) -> Decimal:
    """Whoever comes later asks for more."""
    return Decimal(project.budget - 100 + 50 * turn)


def _status_of_others(project: _Project, index: int) -> str:
    if project.status == "open":
        return "pending"
    return "accepted" if index == 0 and project.own != "accepted" else "rejected"


def _decision(project: _Project) -> int:
    return -project.days * DAY + min(5, project.days) * DAY // 2


def _last_change(project: _Project) -> int:
    if project.status == "completed":
        return _decision(project) + 30 * DAY
    return _decision(project) if project.version > 1 else -project.days * DAY
