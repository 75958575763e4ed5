"""Projects: what may be asked, by whom, at what price."""

from mercenary.db.projection import Fields
from mercenary.errors import Conflict, Forbidden, NotFound
from mercenary.http.access import Caller, anyone, role
from mercenary.http.conditions import IfMatch
from mercenary.http.endpoint import STANDARD, Created, FacetedPage, endpoint, shared
from mercenary.projects import service
from mercenary.projects.schemas import NewProject, Project, ProjectId, ProjectPatch, ProjectQuery


@endpoint(
    "GET", "/projects", access=anyone, cache=shared(tag="projects", apart=service.shows_own_drafts)
)
async def list_projects(
    caller: Caller, query: ProjectQuery, fields: Fields
) -> FacetedPage[Project]:
    """List projects.

    Drafts are left out, unless an admin asks or a client asks for the own ones (`client_id` or
    `status=draft`).

    The facets are `status`, `currency` and `skill`. A count says how long this list would be with
    that status instead of the one asked for, or with that skill besides those asked for. Where
    drafts are asked for, only the own projects count.
    """
    return await service.list_projects(caller, query, fields)


@endpoint(
    "GET", "/projects/{id}", access=anyone, cache=shared(tag="project:{id}"), problems=(NotFound,)
)
async def show_project(caller: Caller, id: ProjectId, fields: Fields) -> Project:
    """Show a project. A draft is found by its owner and by admins only."""
    return await service.visible_project(caller, id, fields)


@endpoint("POST", "/projects", access=role("client"), rate=STANDARD, idempotent=True)
async def create_project(caller: Caller, body: NewProject) -> Created[Project]:
    """Post a project, as a draft or open for proposals at once."""
    return Created(await service.post_project(service.Posting(caller.user_id, body)))


@endpoint(
    "PATCH",
    "/projects/{id}",
    access=role("client", "admin"),
    problems=(NotFound, Forbidden, Conflict),
)
async def change_project(
    caller: Caller, id: ProjectId, body: ProjectPatch, if_match: IfMatch
) -> Project:
    """Change a project.

    Its status moves from draft to open to in_progress to completed; any of the first three can be
    cancelled. Another move is a conflict that names the allowed ones.
    """
    project = await service.change_project(service.Change(caller, id, body, if_match))
    if project is None:
        raise NotFound("project", id)
    return project


@endpoint(
    "DELETE",
    "/projects/{id}",
    access=role("client", "admin"),
    problems=(NotFound, Forbidden, Conflict),
)
async def delete_project(caller: Caller, id: ProjectId, if_match: IfMatch) -> None:
    """Delete a draft. A project that was open is cancelled instead (PATCH)."""
    await service.change_project(service.Change(caller, id, None, if_match))
