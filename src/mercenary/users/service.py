"""The rules of users: what others see of them, and what they may change."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary import settings
from mercenary.db.batches import read_batch, write_batch
from mercenary.db.listing import Listing
from mercenary.db.outbox import Event, record
from mercenary.db.projection import Fields
from mercenary.errors import Fault, Invalid, NotFound, ProblemError
from mercenary.http.access import Caller, Role, UserId
from mercenary.http.conditions import ANY_STATE, IfMatch
from mercenary.http.endpoint import FacetedPage
from mercenary.http.lists import read_page
from mercenary.projects import service as projects
from mercenary.skills import service as skills
from mercenary.users import queries
from mercenary.users.schemas import MAX_SKILLS, SkillLevel, User, UserPatch, UserQuery

DEFAULT_CURRENCY = "USD"

find_user = read_batch(queries.select_users)
find_public_user = read_batch(queries.select_public_users, replicated=True)
find_account = read_batch(queries.select_accounts)
user_list = Listing(queries.select_user_pages)
public_list = Listing(queries.select_public_pages, tag="users", public="active", replicated=True)
take_ids = queries.take_ids
select_accounts = queries.select_accounts


class NewUser(msgspec.Struct, frozen=True):
    """Somebody who registers, with an id that was taken before."""

    id: UserId
    email: str
    name: str
    role: Role


class Change(msgspec.Struct, frozen=True):
    """A user's ask to change the own profile: some fields, or all the skills where given."""

    id: UserId
    patch: UserPatch = UserPatch()
    skills: tuple[SkillLevel, ...] | None = None
    if_match: IfMatch = ANY_STATE


class Departure(msgspec.Struct, frozen=True):
    """A user's ask to leave."""

    id: UserId
    if_match: IfMatch


async def visible_user(caller: Caller, id: UserId, fields: Fields = None) -> User:
    """The user, or some fields of theirs, as the caller may see them.

    Raises:
        NotFound: there is none, or they are deactivated and the caller is no admin.
    """
    user = await (find_user if caller.is_admin else find_public_user)((id, fields))
    if user is None:
        raise NotFound("user", id)
    return user


async def own_user(id: UserId, fields: Fields = None) -> User:
    """The user, or some fields of theirs, with all that only they and admins may see.

    Raises:
        NotFound: the account was deactivated or erased meanwhile.
    """
    user = await find_user((id, fields))
    if user is None or not user.is_active:
        raise NotFound("user", id)
    return user


async def list_users(caller: Caller, query: UserQuery, fields: Fields = None) -> FacetedPage[User]:
    """A page of users; admins see the deactivated ones too, and everybody's e-mail address."""
    return await read_page(
        user_list if caller.is_admin else public_list,
        parameters=query,
        fields=fields,
        sort=query.sort or "-created_at",
        filters={
            "active": not caller.is_admin,
            "role": query.role,
            "skill": query.skill,
            "country": query.country,
            "q": query.q,
        },
    )


async def add_users(tx: AsyncConnection, new: Sequence[NewUser]) -> Sequence[User]:
    """Insert users who register; that their addresses are nobody else's is seen to by auth."""
    added = await queries.insert_users(tx, [_user_of(each) for each in new]) if new else []
    _tell("user.created", ((user.id, user.version) for user in added))
    return added


async def deactivate_users(
    tx: AsyncConnection, asks: Sequence[Departure]
) -> Sequence[ProblemError | None]:
    """Make users invisible to everybody but admins; those who are already stay as they are."""
    held = await queries.lock_users(tx, [ask.id for ask in asks])
    outcomes = [_departed(held.get(ask.id), ask) for ask in asks]
    leaving = {ask.id for ask, problem in zip(asks, outcomes, strict=True) if problem is None}
    if leaving:
        _tell("user.deactivated", await queries.deactivate_users(tx, leaving))
    return outcomes


async def assign_role(tx: AsyncConnection, ids: Sequence[UserId], role: Role) -> None:
    """Give active users another role; no request can, `mercenary admin` does."""
    _tell("user.updated", await queries.assign_role(tx, ids, role))


async def lock_erasable(tx: AsyncConnection, rows: int) -> list[UserId]:
    """Users whose time to be kept is over, so many that `rows` rows hold them and their skills."""
    at_once = max(1, rows // MAX_SKILLS)
    return await queries.lock_erasable(tx, settings.get().erase_after, at_once)


async def erase_users(tx: AsyncConnection, ids: Sequence[UserId]) -> None:
    """Empty users that this transaction holds of all that is personal; what's left is their id."""
    erased = await queries.erase_users(tx, ids)
    # Nobody but admins has seen them since they were deactivated.
    _tell("user.erased", erased, public=False)


async def change_users(tx: AsyncConnection, asks: Sequence[Change]) -> Sequence[User | Exception]:
    """Change users under their locks; the asks about one user follow each other."""
    wanted = {skill.skill_id for ask in asks for skill in ask.skills or ()}
    known = await skills.known_ids(tx, wanted)
    before = await queries.lock_users(tx, [ask.id for ask in asks])
    held = dict(before)
    outcomes: list[User | Exception] = []
    for ask in asks:
        try:
            held[ask.id] = _changed(held.get(ask.id), ask, known)
            outcomes.append(held[ask.id])
        except ProblemError as problem:
            outcomes.append(problem)
    changed = [user for id_, user in held.items() if user != before[id_]]
    await queries.replace_skills(
        tx, {user.id: user.skills for user in changed if user.skills != before[user.id].skills}
    )
    time = await queries.update_users(tx, changed) if changed else ""
    renamed = {user.id: user.name for user in changed if user.name != before[user.id].name}
    if renamed:
        await projects.rename_clients(tx, renamed)
    _tell("user.updated", ((user.id, user.version) for user in changed))
    return [
        replace(outcome, updated_at=time) if isinstance(outcome, User) else outcome
        for outcome in outcomes
    ]


change_user = write_batch(change_users, order=lambda change: change.id)


def _tell(name: str, versions: Iterable[tuple[UserId, int]], *, public: bool = True) -> None:
    """Record an event of users, given with the versions that they have now."""
    for id, version in versions:
        subject = f"user:{id}"
        record(Event(name, subject, version, id, (subject, "users") if public else ()))


def _user_of(new: NewUser) -> User:
    return User(
        id=new.id,
        name=new.name,
        role=new.role,
        headline="",
        bio="",
        skills=[],
        hourly_rate=None,
        currency=DEFAULT_CURRENCY,
        country=None,
        created_at="",
        updated_at="",
        version=1,
        email=new.email,
        is_active=True,
    )


def _changed(user: User | None, ask: Change, known: Collection[int]) -> User:
    if user is None or not user.is_active:
        raise NotFound("user", ask.id)
    ask.if_match.check(user.id, user.version)
    given = {name: value for name, value in asdict(ask.patch).items() if value is not UNSET}
    if ask.skills is not None:
        if faults := _skill_faults(ask.skills, known):
            raise Invalid(faults)
        given["skills"] = sorted(ask.skills, key=lambda skill: skill.skill_id)
    return replace(user, version=user.version + 1, **given)


def _departed(user: User | None, ask: Departure) -> ProblemError | None:
    if user is None:
        return NotFound("user", ask.id)
    try:
        ask.if_match.check(user.id, user.version)
    except ProblemError as problem:
        return problem
    return None


def _skill_faults(wanted: Sequence[SkillLevel], known: Collection[int]) -> list[Fault]:
    faults = []
    times: Counter[int] = Counter()
    for index, skill in enumerate(wanted):
        times[skill.skill_id] += 1
        if skill.skill_id not in known:
            faults.append(Fault(f"/{index}/skill_id", "There is no skill with this id"))
        elif times[skill.skill_id] > 1:
            faults.append(Fault(f"/{index}/skill_id", "This skill is named twice"))
    return faults
