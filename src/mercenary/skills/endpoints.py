"""Skills: what may be asked, by whom, at what price."""

from mercenary.db.projection import Fields
from mercenary.errors import Conflict, NotFound
from mercenary.http.access import anyone, role
from mercenary.http.endpoint import STANDARD, Created, Page, endpoint, shared
from mercenary.skills import service
from mercenary.skills.schemas import NewSkill, Skill, SkillId, SkillQuery


@endpoint("GET", "/skills", access=anyone, cache=shared(tag="skills"))
async def list_skills(query: SkillQuery, fields: Fields) -> Page[Skill]:
    """List skills by name.

    With `q`, those whose names begin so come first, and then those with names like it.
    """
    return await service.list_skills(query, fields)


@endpoint(
    "GET", "/skills/{id}", access=anyone, cache=shared(tag="skill:{id}"), problems=(NotFound,)
)
async def show_skill(id: SkillId, fields: Fields) -> Skill:
    """Show a skill."""
    return await service.existing_skill(id, fields)


@endpoint(
    "POST",
    "/skills",
    access=role("admin"),
    rate=STANDARD,
    idempotent=True,
    problems=(Conflict,),
)
async def create_skill(body: NewSkill) -> Created[Skill]:
    """Add a skill. White space around and between its words is made single spaces."""
    return Created(await service.add_skill(body))
