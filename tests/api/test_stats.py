"""Statistics: the numbers of a small marketplace known to the last bid, and what they keep."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from statistics import quantiles
from typing import Any

import asyncpg
import httpx
import pytest

from mercenary.app import Application
from mercenary.db import engine
from mercenary.http.wire import rfc3339
from mercenary.stats import service
from mercenary.stats.schemas import MOST_DAYS, MarketplaceQuery, SkillStatsQuery
from tests.api.lists import listed, walked
from tests.conftest import Statements
from tests.db.conftest import connected

PYTHON, GO, RUST, PERL = 1, 2, 3, 4
SKILLS = {PYTHON: "Python", GO: "Go", RUST: "Rust", PERL: "Perl"}
CLIENT, LEAVER, ADMIN = 1, 2, 3
FREELANCERS = range(11, 17)
LEFT = 17
NOON = "2026-03-01T12:00Z"

# id, skill, status, currency, budget, created: the last second of a day is still that day's.
PROJECTS = [
    (1, PYTHON, "open", "USD", "100.00", NOON),
    (2, PYTHON, "in_progress", "USD", "200.00", "2026-03-01T23:59:59.999999Z"),
    (3, PYTHON, "completed", "USD", "400.00", "2026-03-02T00:00Z"),
    (4, PYTHON, "cancelled", "USD", "800.00", "2026-03-02T12:00Z"),
    (5, PYTHON, "draft", "USD", "9999.00", NOON),
    (6, PYTHON, "open", "EUR", "50.00", NOON),
    (7, GO, "completed", "GBP", "0.01", NOON),
    (8, GO, "open", "GBP", "0.02", NOON),
    (9, GO, "open", "GBP", "9999999999.99", "2026-03-02T12:00Z"),
    (10, RUST, "completed", "USD", "70.00", NOON),
    (11, RUST, "completed", "USD", "80.00", NOON),
]


def of(project: int, bids: dict[int, str], status: str = "rejected", **decided: str) -> list[Any]:
    """Proposals for a project by freelancer, and those that were decided otherwise."""
    return [
        (project, freelancer, decided.get(f"by{freelancer}", status), bid)
        for freelancer, bid in bids.items()
    ]


# project, freelancer, status, bid
PROPOSALS = [
    # Pending: the project is open, so nobody else is to know.
    *of(1, dict.fromkeys(FREELANCERS, "1.00"), "pending"),
    # Five freelancers of six; the sixth has taken it back, the seventh has left.
    *of(2, {11: "10.00", 12: "20.00", 13: "30.00"}, by11="accepted"),
    *of(3, {14: "40.00", 15: "50.00", LEFT: "77777.00"}, by14="accepted"),
    *of(4, {16: "99999.00"}, "withdrawn"),
    # Four freelancers are too few.
    *of(7, {11: "1.00", 12: "2.00", 13: "3.00", 14: "4.00"}, by11="accepted"),
    # Six bids, but of three freelancers.
    *of(10, {11: "1.00", 12: "2.00", 13: "3.00"}, by11="accepted"),
    *of(11, {11: "1.00", 12: "2.00", 13: "3.00"}, by11="accepted"),
]
HIRED = datetime(2026, 3, 3, 9, tzinfo=UTC)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module", autouse=True)
async def marketplace(database_uri: str, application: Application) -> None:
    """All of it, gathered."""
    async with connected(database_uri) as database:
        await database.executemany(
            "INSERT INTO skills (id, name) VALUES ($1, $2)", list(SKILLS.items())
        )
        people = [(CLIENT, "client", True), (LEAVER, "client", False), (ADMIN, "admin", True)]
        people += [(id, "freelancer", True) for id in FREELANCERS] + [(LEFT, "freelancer", False)]
        await database.executemany(
            "INSERT INTO users (id, role, is_active, deactivated_at, email, name, created_at)"
            " VALUES ($1, $2, $3, CASE WHEN $3 THEN NULL ELSE now() END,"
            " 'somebody' || $1::bigint || '@example.com', 'Somebody', $4)",
            [(*person, moment(NOON)) for person in people],
        )
        await database.executemany(
            "INSERT INTO user_skills VALUES ($1, $2, 3)",
            [(11, PYTHON), (12, PYTHON), (LEFT, PYTHON), (ADMIN, PYTHON), (11, GO), (LEFT, RUST)],
        )
        await database.executemany(
            "INSERT INTO projects (id, client_id, client_name, status, currency, budget,"
            " created_at, title, description)"
            " VALUES ($1, 1, 'Somebody', $2, $3, $4, $5, 'Title', 'Description')",
            [
                (id, state, code, Decimal(sum_), moment(at))
                for id, _, state, code, sum_, at in PROJECTS
            ],
        )
        await database.executemany(
            "INSERT INTO project_skills VALUES ($1, $2)", [each[:2] for each in PROJECTS]
        )
        await _bid(database, PROPOSALS)
    assert await service.refresh(engine.current())


async def _bid(database: asyncpg.Connection, proposals: list[Any]) -> None:
    await database.executemany(
        "INSERT INTO proposals (id, project_id, freelancer_id, status, currency, bid,"
        " estimated_days, cover_letter, created_at, updated_at)"
        " SELECT nextval('proposals_id_seq'), id, $2, $3, currency, $4, 9, 'Letter', $5, $6"
        " FROM projects WHERE id = $1",
        [(*bid[:3], Decimal(bid[3]), moment("2026-03-02T12:00Z"), HIRED) for bid in proposals],
    )


def amounts(currency: str, *values: str) -> dict[str, Any]:
    """The quartiles of these amounts, interpolated as Python does it."""
    given = [Decimal(value) for value in values]
    points = quantiles(given, n=4, method="inclusive") if len(given) > 1 else given * 3
    lower, median, upper = (str(point.quantize(Decimal("0.01"), ROUND_HALF_UP)) for point in points)
    return {
        "currency": currency,
        "count": len(values),
        "lower_quartile": lower,
        "median": median,
        "upper_quartile": upper,
    }


async def skill(client: httpx.AsyncClient, id: int) -> dict[str, Any]:
    (found,) = await listed(client, "/stats/skills", skill=id)
    return found


async def days(client: httpx.AsyncClient, **parameters: str) -> list[dict[str, Any]]:
    """Days as a guest sees them; `since` stands for `from`, which Python has taken."""
    given = {"from" if name == "since" else name: value for name, value in parameters.items()}
    answer = await client.get("/api/v1/stats/marketplace", params=given)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["days"]
    return found


async def test_a_skill_is_told_of_with_demand_supply_and_prices_by_currency(
    client: httpx.AsyncClient,
) -> None:
    assert await skill(client, PYTHON) == {
        "id": PYTHON,
        "name": "Python",
        "demand": 2,
        "projects": 5,
        "supply": 2,
        "budgets": [amounts("USD", "100", "200", "400", "800"), amounts("EUR", "50")],
        "bids": [amounts("USD", "10", "20", "30", "40", "50")],
    }


async def test_a_skill_that_nobody_wants_or_has_is_there(client: httpx.AsyncClient) -> None:
    nothing: dict[str, Any] = {"demand": 0, "projects": 0, "supply": 0, "budgets": [], "bids": []}
    assert await skill(client, PERL) == {"id": PERL, "name": "Perl"} | nothing


async def test_the_least_and_the_largest_amounts_keep_their_cents(
    client: httpx.AsyncClient,
) -> None:
    (budgets,) = (await skill(client, GO))["budgets"]
    assert budgets == amounts("GBP", "0.01", "0.02", "9999999999.99")


async def test_demand_and_supply_are_as_many_as_the_lists_show(client: httpx.AsyncClient) -> None:
    for id in SKILLS:
        shown = await skill(client, id)
        for path, number in (
            (f"/projects?status=open&skill={id}", shown["demand"]),
            (f"/projects?skill={id}", shown["projects"]),
            (f"/users?role=freelancer&skill={id}", shown["supply"]),
        ):
            answer = await client.get(f"/api/v1{path}&include=total")
            assert answer.json()["total"] == number, path


async def test_of_fewer_than_five_freelancers_no_bid_is_told(client: httpx.AsyncClient) -> None:
    """Four have bid in GBP, three in USD for two projects each."""
    assert (await skill(client, GO))["bids"] == []
    assert (await skill(client, RUST))["bids"] == []
    told = [each["currency"] for day in await days(client, since="2026-03-02", to="2026-03-02")
            for each in day["bids"]]  # fmt: skip
    assert told == ["USD"]


async def test_a_day_tells_what_began_and_what_was_agreed_on(client: httpx.AsyncClient) -> None:
    first, second, third = await days(client, since="2026-03-01", to="2026-03-03")
    assert first == {
        "day": "2026-03-01",
        "sign_ups": {"client": 1, "freelancer": 6},
        "projects": {"open": 3, "in_progress": 1, "completed": 3, "cancelled": 0},
        "budgets": [
            amounts("USD", "70", "80", "100", "200"),
            amounts("GBP", "0.01", "0.02"),
            amounts("EUR", "50"),
        ],
        "proposals": 0,
        "hires": 0,
        "bids": [],
    }
    assert second["projects"] == {"open": 1, "in_progress": 0, "completed": 1, "cancelled": 1}
    assert second["budgets"] == [amounts("USD", "400", "800"), amounts("GBP", "9999999999.99")]
    assert second["proposals"] == 6 + 5 + 4 + 6
    # All six who bid in USD, whatever for; one of seven has left, one has taken it back.
    assert second["bids"] == [
        amounts("USD", "10", "20", "30", "40", "50", *(["1", "2", "3"] * 2)),
    ]
    assert third == {
        "day": "2026-03-03",
        "sign_ups": {"client": 0, "freelancer": 0},
        "projects": {"open": 0, "in_progress": 0, "completed": 0, "cancelled": 0},
        "budgets": [],
        "proposals": 0,
        "hires": 5,
        "bids": [],
    }


async def test_nobody_is_named(client: httpx.AsyncClient) -> None:
    for path in ("/stats/skills", "/stats/marketplace?from=2026-02-01&to=2026-04-01"):
        text = (await client.get(f"/api/v1{path}")).text.lower()
        assert not {
            word for word in ("@", "somebody", "letter", "title", "9999.00") if word in text
        }


async def test_both_say_when_they_were_refreshed(
    client: httpx.AsyncClient, database_uri: str
) -> None:
    async with connected(database_uri) as database:
        at = await database.fetchval("SELECT refreshed_at FROM stats_refreshes")
    for path in ("skills", "skills?q=nothing", "skills?fields=id", "marketplace"):
        answer = await client.get(f"/api/v1/stats/{path}")
        assert answer.json()["refreshed_at"] == rfc3339(at)


async def test_what_isnt_asked_for_is_the_30_days_up_to_the_last_refresh(
    client: httpx.AsyncClient,
) -> None:
    answer = (await client.get("/api/v1/stats/marketplace")).json()
    last = date.fromisoformat(answer["refreshed_at"][:10])
    shown = [date.fromisoformat(day["day"]) for day in answer["days"]]
    assert shown == [last - timedelta(days=number) for number in reversed(range(30))]
    assert await days(client, to=str(last)) == answer["days"]
    assert await days(client, since=str(shown[0])) == answer["days"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("from=2026-03-01&to=2026-03-01", 1),
        ("to=2026-03-01", 30),
        ("from=2025-03-01&to=2026-03-01", MOST_DAYS),
        ("to=0001-01-03", 3),
        ("from=0001-01-01&to=0001-01-01", 1),
        ("from=9999-12-31", 0),
        ("to=9999-12-31", 0),
    ],
)
async def test_a_range_has_as_many_days_as_have_come(
    client: httpx.AsyncClient, query: str, shown: int
) -> None:
    answer = await client.get(f"/api/v1/stats/marketplace?{query}")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["days"]) == shown


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=2026-03-02&to=2026-03-01", "?from"),
        ("from=2025-02-28&to=2026-03-01", "?from"),
        ("from=0001-01-01", "?from"),
        ("from=yesterday", "?from"),
        ("from=2026-02-30", "?from"),
        ("to=", "?to"),
        ("to=null", "?to"),
        ("to=2026-03-01T00:00Z", "?to"),
        ("from=2026-03-01&from=2026-03-01", "?from"),
        ("since=2026-03-01", "?since"),
        ("fields=days", "?fields"),
    ],
)
async def test_a_wrong_range_is_refused_and_its_parameter_named(
    client: httpx.AsyncClient, query: str, pointer: str
) -> None:
    answer = await client.get(f"/api/v1/stats/marketplace?{query}")
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("-demand", [PYTHON, GO]),
        ("demand", [RUST, PERL]),
        ("-supply", [PYTHON, GO]),
        ("supply", [RUST, PERL]),
        ("name", [GO, PERL]),
        (None, [PYTHON, GO]),
    ],
)
async def test_skills_come_in_the_order_that_is_asked_for(
    client: httpx.AsyncClient, sort: str | None, ids: list[int]
) -> None:
    parameters: dict[str, Any] = {} if sort is None else {"sort": sort}
    walk = await walked(client, "/stats/skills", limit=1, **parameters)
    keys = {"demand": lambda item: (item["demand"], item["id"]),
            "supply": lambda item: (item["supply"], item["id"]),
            "name": lambda item: item["name"].lower()}  # fmt: skip
    sort = sort or "-demand"
    in_order = sorted(walk, key=keys[sort.lstrip("-")], reverse=sort.startswith("-"))
    assert walk == in_order
    assert {item["id"] for item in walk} == set(SKILLS)
    assert {item["id"] for item in walk[:2]} == set(ids)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=p", {"Python", "Perl"}),
        ("q=PYTH", {"Python"}),
        ("q=pyton", {"Python"}),
        ("q=x", set()),
        (f"skill={GO}", {"Go"}),
        ("skill=99", set()),
        (f"skill={GO}&q=p", set()),
        (f"skill={GO}&q=g&sort=name", {"Go"}),
    ],
)
async def test_skills_are_found_by_id_and_by_name(
    client: httpx.AsyncClient, query: str, names: set[str]
) -> None:
    answer = await client.get(f"/api/v1/stats/skills?{query}&include=total&fields=name")
    assert {item["name"] for item in answer.json()["items"]} == names
    assert answer.json()["total"] == len(names)


async def test_many_readers_cost_two_statements_by_key(
    application: Application, statements: Statements
) -> None:
    """Where no cache knows the answer."""
    reads: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: service.list_skills(SkillStatsQuery()),
        lambda: service.show_marketplace(MarketplaceQuery()),
    )
    for read in reads:
        await read()
        with statements.recorded():
            answers = await asyncio.gather(*(read() for _ in range(20)))
        assert len(set(map(repr, answers))) == 1
        assert len(statements) == 2


async def test_what_has_changed_shows_with_the_refresh_and_not_before(
    client: httpx.AsyncClient, database_uri: str
) -> None:
    path = f"/api/v1/stats/skills?skill={PERL}"
    fresh = {"Cache-Control": "no-cache"}
    before = await client.get(path, headers=fresh)
    async with connected(database_uri) as database:
        await database.execute(f"INSERT INTO user_skills VALUES (16, {PERL}, 1)")
    known = fresh | {"If-None-Match": before.headers["etag"]}
    assert (await client.get(path, headers=known)).status_code == 304
    assert await service.refresh(engine.current())
    after = await client.get(path, headers=known)
    assert after.status_code == 200
    assert after.json()["items"][0]["supply"] == before.json()["items"][0]["supply"] + 1
    assert after.json()["refreshed_at"] > before.json()["refreshed_at"]
    async with connected(database_uri) as database:
        await database.execute(f"DELETE FROM user_skills WHERE skill_id = {PERL}")
    assert await service.refresh(engine.current())
