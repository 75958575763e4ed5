"""The stage of a fuzzing: people of each role, and things of theirs in every state.

Schemathesis makes up ids, which belong to nothing. With these it gets past the 404s.
"""

from pathlib import Path

import httpx
import msgspec

from tests.factories import (
    PASSWORD,
    Person,
    new_account,
    post_project,
    sign_in,
    sign_up,
    sign_up_admin,
    submit_proposal,
)

ROLES = ("guest", "client", "freelancer", "admin")
SKILLS = 60
FRESH = 24
"""Open projects that nobody bids for, and as many with a bid to be decided."""


class Stage(msgspec.Struct):
    """What exists: access tokens by role, and ids by the endpoint that takes them."""

    url: str
    password: str
    tokens: dict[str, str]
    skill_ids: list[int]
    ids: dict[str, list[int]]

    def write(self, file: Path) -> None:
        """For the hooks, which run in schemathesis' process."""
        file.write_bytes(msgspec.json.encode(self))


async def set_stage(url: str, database_uri: str) -> Stage:
    """Make everybody and everything, on an empty database."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        admin = await sign_up_admin(client, database_uri)
        # Whom the document's examples speak of.
        example = new_account("freelancer", email="ada@example.com")
        await client.post("/api/v1/auth/register", json=example)
        ada = await sign_in(client, "ada@example.com", PASSWORD, {})
        ada.user = (await ada.get("/users/me")).json()
        mia = await sign_up(client, "client")
        skills = [
            (await admin.post("/skills", {"name": f"Skill {number}"})).json()["id"]
            for number in range(SKILLS)
        ]
        projects, proposals = await _in_every_state(client, mia, ada)
        open_ = [(await post_project(mia))["id"] for _ in range(2 * FRESH)]
        pending = [(await submit_proposal(ada, id))["id"] for id in open_[:FRESH]]
    tokens = {person.user["role"]: person.access_token for person in (mia, ada, admin)}
    ids = {
        "show_skill": skills,
        "show_user": [admin.id, ada.id, mia.id],
        "submit_proposal": projects + open_[FRESH:],
        **dict.fromkeys(("show_project", "change_project", "delete_project"), projects),
        "list_project_proposals": projects,
        **dict.fromkeys(("show_proposal", "change_proposal"), proposals + pending),
        **dict.fromkeys(("accept_proposal", "reject_proposal"), proposals + pending),
    }
    return Stage(url, PASSWORD, tokens, skills, ids)


async def _in_every_state(
    client: httpx.AsyncClient, mia: Person, ada: Person
) -> tuple[list[int], list[int]]:
    """Mia's projects in every state with proposals of Ada's and Bob's: several, for they change."""
    bob = await sign_up(client, "freelancer")
    projects, proposals = [], []
    for _ in range(4):
        projects += [(await post_project(mia, status="draft"))["id"] for _ in range(5)]
        for end in ("open", "cancelled", "in_progress", "completed"):
            project = (await post_project(mia))["id"]
            bids = [(await submit_proposal(each, project))["id"] for each in (ada, bob)]
            if end in ("in_progress", "completed"):
                await mia.post(f"/proposals/{bids[0]}/accept")
            if end in ("cancelled", "completed"):
                await mia.patch(f"/projects/{project}", {"status": end})
            projects.append(project)
            proposals += bids
    return projects, proposals
