"""Who takes part in a round, and what they quarrel about: few hot things, some cold ones."""

import asyncio
import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import asyncpg

from tests.coherence.client import Client, Log, Session, as_public, project_state
from tests.coherence.history import ALIVE, Act, State
from tests.coherence.hosts import Hosts
from tests.coherence.wire import Answer
from tests.factories import PASSWORD, new_project, new_proposal

OWNERS: Final = 2
FREELANCERS: Final = 3
HOT: Final = 3
COLD: Final = 8
SKILLS: Final = 3
TRIES: Final = 40
PAUSE: Final = 0.25
# Long enough to be sent in a coding.
_FILLING: Final = "Twelve endpoints in Python, two of them slow. Tests are there. " * 20


@dataclass
class Cast:
    """The people by role, and the ids of their projects."""

    log: Log
    owners: list[Session] = field(default_factory=list)
    freelancers: list[Session] = field(default_factory=list)
    admin: Session | None = None
    hot: list[int] = field(default_factory=list)
    cold: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    skills: list[int] = field(default_factory=list)
    # How the names of the round's skills begin.
    prefix: str = ""
    # Newest last; they are posted, bid for and carried on while the round goes.
    recent: list[int] = field(default_factory=list)
    proposals: list[tuple[int, Session]] = field(default_factory=list)
    owner_of: dict[int, Session] = field(default_factory=dict)
    # Set when nobody is to begin anything more; what is under way is waited for and written down.
    is_over: bool = False

    @property
    def newest(self) -> int:
        """The highest id of a project so far."""
        return max(self.owner_of, default=0)


async def assemble(hosts: Hosts, log: Log, chance: random.Random) -> Cast:
    """Sign everybody up and post what there is at the beginning."""
    cast = Cast(log)
    client = Client("assembler", hosts.hosts[0], log, chance)
    for _ in range(OWNERS):
        cast.owners.append(await sign_in(client, await register(client, "client")))
    for _ in range(FREELANCERS):
        cast.freelancers.append(await sign_in(client, await register(client, "freelancer")))
    cast.admin = await _admin(client, hosts.database_uri)
    cast.prefix = f"{chance.getrandbits(48):x}"
    for _ in range(SKILLS):
        await add_skill(client, cast)
    for owner in cast.owners:
        cast.hot += [(await post(client, cast, owner))["id"] for _ in range(HOT)]
        cast.cold += [(await post(client, cast, owner))["id"] for _ in range(COLD)]
        cast.drafts.append((await post(client, cast, owner, status="draft"))["id"])
    client.close()
    return cast


async def register(client: Client, role: str, *, recorded: bool = True) -> dict[str, Any]:
    """Open an account; what was sent, and the user's id and profile."""
    number = f"{client.chance.getrandbits(48):x}-{next(client.log.numbers)}"
    account = {
        "email": f"{number}@example.com", "password": PASSWORD, "name": number, "role": role,
    }  # fmt: skip
    answer, act = await insist(client, "/auth/register", None, account)
    body = answer.json()
    profile = as_public(body)
    if recorded:
        client.log.wrote(act, f"user:{body['id']}", body["version"], profile)
    return account | {"id": body["id"], "profile": profile}


async def sign_in(client: Client, account: dict[str, Any]) -> Session:
    """One more session of an account."""
    given = {"email": account["email"], "password": account["password"]}
    answer, act = await insist(client, "/auth/login", None, given)
    session = Session(
        f"session:{next(client.log.numbers)}",
        answer.json()["access_token"],
        answer.json()["refresh_token"],
        account["id"],
        account["role"],
    )
    client.log.wrote(act, session.key, ALIVE, {})
    return session


async def post(client: Client, cast: Cast, owner: Session, **changes: Any) -> State:
    """Post a project; gives it as it was answered."""
    body = new_project(description=_FILLING, **changes)
    answer, act = await insist(client, "/projects", owner, body)
    project = project_state(answer.json())
    client.log.wrote(act, f"project:{project['id']}", project["version"], project)
    cast.owner_of[project["id"]] = owner
    return project


async def add_skill(client: Client, cast: Cast) -> None:
    """Add a skill, as only admins may."""
    name = f"{cast.prefix} {next(client.log.numbers)}"
    answer, act = await insist(client, "/skills", cast.admin, {"name": name})
    skill = answer.json()
    client.log.wrote(act, f"skill:{skill['id']}", skill["version"], skill)
    cast.skills.append(skill["id"])


async def bid(
    client: Client, cast: Cast, freelancer: Session, project: State
) -> tuple[State, State]:
    """Bid for an open project, which shows it; gives the proposal, and what the project is then."""
    path = f"/projects/{project['id']}/proposals"
    answer, act = await insist(client, path, freelancer, new_proposal())
    proposal: State = answer.json()
    client.log.wrote(act, f"proposal:{proposal['id']}", proposal["version"], proposal)
    cast.proposals.append((proposal["id"], freelancer))
    bids = [each for each in (project["lowest_bid"], proposal["bid"]) if each is not None]
    after = {
        **project,
        "version": project["version"] + 1,
        "proposal_count": project["proposal_count"] + 1,
        "lowest_bid": min(bids, key=Decimal),
    }
    after.pop("updated_at", None)
    client.log.wrote(act, f"project:{project['id']}", after["version"], after)
    return proposal, after


class GaveUp(Exception):
    """A fault lasted longer than anybody's patience."""


async def insist(
    client: Client, path: str, session: Session | None, body: Any
) -> tuple[Answer, Act]:
    """POST under one idempotency key until it is answered: it happens once, from the first try on.

    Raises:
        GaveUp: it wasn't answered; what was to be made may have been.
    """
    key = {"Idempotency-Key": f"{client.chance.getrandbits(64):x}"}
    begin = None
    for _ in range(TRIES):
        answer = await client.ask("POST", path, session, headers=key, body=body)
        begin = begin or answer.begin
        if answer.status in (200, 201):
            act = client.act(answer, "POST", path, session)
            return answer, Act(
                begin=begin, end=act.end, host=act.host, client=act.client, worker=act.worker,
                url=act.url, what=act.what,
            )  # fmt: skip
        if answer.is_telling and answer.status != 409:  # 409: the first try is still under way
            raise AssertionError(f"POST {path}: {answer.status} {answer.body!r}")
        await asyncio.sleep(PAUSE)
    act = client.act(answer, "POST", path, session)
    kind = path.rpartition("/")[2].rstrip("s")
    client.log.wrote(act, f"{kind}:?{next(client.log.numbers)}", None, {})
    raise GaveUp(path)


async def _admin(client: Client, database_uri: str) -> Session:
    """An admin, whose user isn't part of the history, for it was changed behind the API's back."""
    account = await register(client, "client", recorded=False)
    connection = await asyncpg.connect(database_uri)
    try:
        await connection.execute("UPDATE users SET role = 'admin' WHERE id = $1", account["id"])
    finally:
        await connection.close()
    return await sign_in(client, account | {"role": "admin"})
