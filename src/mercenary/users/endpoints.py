"""Users: what may be asked, by whom, at what price."""

from mercenary.db.projection import Fields
from mercenary.errors import NotFound
from mercenary.http.access import Caller, UserId, anyone, role, signed_in
from mercenary.http.conditions import IfMatch
from mercenary.http.endpoint import FacetedPage, endpoint, shared
from mercenary.users import service
from mercenary.users.schemas import SkillLevels, User, UserPatch, UserQuery


@endpoint("GET", "/users", access=anyone, cache=shared(tag="users"))
async def list_users(caller: Caller, query: UserQuery, fields: Fields) -> FacetedPage[User]:
    """List users. Deactivated ones and e-mail addresses are for admins only.

    The facets are `role`, `country` and `skill`. A count says how long this list would be with that
    role or country instead of the one asked for, or with that skill besides those asked for.
    """
    return await service.list_users(caller, query, fields)


@endpoint("GET", "/users/me", access=signed_in, problems=(NotFound,))
async def show_own_user(caller: Caller, fields: Fields) -> User:
    """Show the own profile, e-mail address included."""
    return await service.own_user(caller.user_id, fields)


@endpoint("GET", "/users/{id}", access=anyone, cache=shared(tag="user:{id}"), problems=(NotFound,))
async def show_user(caller: Caller, id: UserId, fields: Fields) -> User:
    """Show a user. One who is deactivated is found by admins only."""
    return await service.visible_user(caller, id, fields)


@endpoint("PATCH", "/users/me", access=signed_in, problems=(NotFound,))
async def change_own_user(caller: Caller, body: UserPatch, if_match: IfMatch) -> User:
    """Change the own profile. A field that is left out stays; null empties a rate or a country."""
    return await service.change_user(service.Change(caller.user_id, patch=body, if_match=if_match))


@endpoint("PUT", "/users/me/skills", access=role("freelancer"), problems=(NotFound,))
async def replace_own_skills(caller: Caller, body: SkillLevels, if_match: IfMatch) -> User:
    """Replace all the own skills; an empty list takes them away."""
    return await service.change_user(
        service.Change(caller.user_id, skills=tuple(body), if_match=if_match)
    )
