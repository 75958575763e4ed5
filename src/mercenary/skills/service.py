"""The rules of skills: a name is there once, whatever its case."""

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.db.batches import read_batch, write_batch
from mercenary.db.listing import Listing
from mercenary.db.outbox import Event, record
from mercenary.db.projection import Fields
from mercenary.errors import Conflict, NotFound
from mercenary.http.endpoint import Page
from mercenary.http.lists import read_page
from mercenary.skills import queries
from mercenary.skills.schemas import NewSkill, Skill, SkillId, SkillQuery

find_skill = read_batch(queries.select_skills, replicated=True)
skill_list = Listing(queries.select_skill_pages, tag="skills", replicated=True)


async def known_ids(tx: AsyncConnection, ids: Collection[int]) -> set[int]:
    """Those of the ids that are skills'; asks nothing when there are none."""
    return await queries.select_known_ids(tx, ids) if ids else set()


async def existing_skill(id: SkillId, fields: Fields = None) -> Skill:
    """The skill, or some fields of it.

    Raises:
        NotFound: there is none.
    """
    skill = await find_skill((id, fields))
    if skill is None:
        raise NotFound("skill", id)
    return skill


async def list_skills(query: SkillQuery, fields: Fields = None) -> Page[Skill]:
    """A page of skills: by name, or the best matches of a search first."""
    return await read_page(
        skill_list,
        parameters=query,
        fields=fields,
        sort="name" if query.q is None else "-rank",
        filters={"q": query.q},
    )


async def add_skills(tx: AsyncConnection, asks: Sequence[NewSkill]) -> Sequence[Skill | Exception]:
    """Insert new skills; one whose name is taken, also within the batch, fails alone."""
    names = [_tidy(ask.name) for ask in asks]
    ids = await queries.take_ids(tx, len(asks))
    stored = await queries.insert_skills(tx, dict(zip(ids, names, strict=True)))
    for skill in stored.values():
        subject = f"skill:{skill.id}"
        record(Event("skill.created", subject, skill.version, skill.id, (subject, "skills")))
    return [
        stored.get(skill_id) or Conflict(f"There is a skill {name} already.")
        for skill_id, name in zip(ids, names, strict=True)
    ]


# Sorted by name, so that two batches with the same names wait for each other and never in a circle.
add_skill = write_batch(add_skills, order=lambda new: _tidy(new.name).lower())


def _tidy(name: str) -> str:
    return " ".join(name.split())
