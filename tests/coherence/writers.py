"""Writers: they change the same few things from both hosts, and look at once whether it shows."""

import asyncio
from typing import Any, Final

from tests.coherence.cast import Cast, GaveUp, add_skill, bid, post
from tests.coherence.client import Client, Session, as_public, project_state
from tests.coherence.history import State
from tests.coherence.readers import Reader
from tests.coherence.wire import UNSENT, Answer

# What a writer does, and how often.
_DEEDS: Final = {
    "hot": 60, "cold": 6, "profile": 12, "post": 6, "publish": 6, "hire": 8, "skill": 2,
}  # fmt: skip
_LOOKS_AFTER_A_WRITE: Final = 0.5


class Writer:
    """One writer on one host, who looks over another connection, and hires over the far host."""

    def __init__(self, client: Client, looking: Client, far: Client, cast: Cast) -> None:
        self.client = client
        self.far = far
        self.cast = cast
        self.chance = client.chance
        self.reader = Reader(looking, cast)

    async def run(self, rate: float) -> None:
        """Do `rate` things a second on average, until all is over."""
        while not self.cast.is_over:
            await asyncio.sleep(self.chance.expovariate(rate))
            try:
                await self.act()
            except GaveUp:
                self.client.log.tally["gave up"] += 1

    async def act(self) -> None:
        """One deed."""
        cast, chance = self.cast, self.chance
        owner = chance.choice(cast.owners)
        deed = chance.choices(list(_DEEDS), weights=list(_DEEDS.values()))[0]
        if deed in ("hot", "cold"):
            await self._change(chance.choice(cast.hot if deed == "hot" else cast.cold))
        elif deed == "profile":
            await self._change_profile(chance.choice(cast.owners + cast.freelancers))
        elif deed == "skill":
            await add_skill(self.client, cast)
        elif deed == "post":
            await self._post(owner, "open")
        elif deed == "publish":
            await self._publish(owner)
        else:
            await self._hire(owner)

    async def _change(self, id: int) -> None:
        number = next(self.client.log.numbers)
        patch: dict[str, Any] = {"title": f"Change {number}"}
        if self.chance.random() < 0.3:
            patch["budget"] = f"{100 + number}.00"
        if self.chance.random() < 0.2:
            patch["skill_ids"] = sorted(self.chance.sample(self.cast.skills, 2))
        await self._patch(id, self.cast.owner_of[id], patch)

    async def _patch(self, id: int, owner: Session, patch: dict[str, Any]) -> bool:
        """Change a project; whether that was acknowledged."""
        path = f"/projects/{id}"
        answer = await self.client.ask("PATCH", path, owner, body=patch)
        version = answer.json()["version"] if answer.status == 200 else None
        state = project_state(answer.json()) if answer.status == 200 else patch
        self._record("PATCH", path, owner, answer, {f"project:{id}": (version, state)})
        if self.chance.random() < _LOOKS_AFTER_A_WRITE:
            await self.reader.look_at("project", id, None, plainly=True)
        return version is not None

    async def _change_profile(self, person: Session) -> None:
        method, path, patch = "PATCH", "/users/me", {}
        patch["headline"] = f"Change {next(self.client.log.numbers)}"
        body: Any = patch
        if person.role == "freelancer" and self.chance.random() < 0.3:
            body = [{"skill_id": self.chance.choice(self.cast.skills), "level": 3}]
            method, path, patch = "PUT", "/users/me/skills", {"skills": body}
        answer = await self.client.ask(method, path, person, body=body)
        version = answer.json()["version"] if answer.status == 200 else None
        state = as_public(answer.json()) if answer.status == 200 else patch
        key = f"user:{person.user_id}"
        self._record(method, path, person, answer, {key: (version, state)})
        if self.chance.random() < _LOOKS_AFTER_A_WRITE:
            await self.reader.look_at("user", person.user_id, None, plainly=True)

    async def _post(self, owner: Session, status: str) -> State:
        project = await post(self.client, self.cast, owner, status=status)
        self.cast.recent.append(project["id"])
        await self.reader.look_at("project", project["id"], None, plainly=True)
        return project

    async def _publish(self, owner: Session) -> None:
        """Post a draft, which nobody finds, and open it, so that everybody does."""
        id = (await self._post(owner, "draft"))["id"]
        await self.reader.look_at("project", id, owner, plainly=True)
        if await self._patch(id, owner, {"status": "open"}):
            await self.reader.look_at("project", id, None, plainly=True)

    async def _hire(self, owner: Session) -> None:
        """Post, let two bid, and accept both on both hosts at once: one of them is hired.

        Nobody else changes this project, so this writer knows its versions.
        """
        project = await self._post(owner, "open")
        id = project["id"]
        some = self.chance.sample(self.cast.freelancers, 2)
        bids = []
        for each in some:
            mine, project = await bid(self.client, self.cast, each, project)
            bids.append(mine)
        clients = (self.client, self.far)
        await asyncio.gather(
            *(
                self._accept(client, owner, project, mine, other)
                for client, mine, other in zip(clients, bids, reversed(bids), strict=True)
            )
        )
        await self.reader.look_at("project", id, None, plainly=True)
        if self.chance.random() < 0.5:
            await self._patch(id, owner, {"status": "cancelled"})

    async def _accept(
        self, client: Client, owner: Session, project: State, mine: State, other: State
    ) -> None:
        path = f"/proposals/{mine['id']}/accept"
        answer = await client.ask("POST", path, owner)
        hired = answer.status == 200
        outcomes = {
            f"project:{project['id']}": _after(project, "in_progress", hired=hired),
            f"proposal:{mine['id']}": _after(mine, "accepted", hired=hired),
            f"proposal:{other['id']}": _after(other, "rejected", hired=hired),
        }
        client.log.tally["hired"] += hired
        self._record("POST", path, owner, answer, outcomes, client)

    def _record(
        self,
        method: str,
        path: str,
        session: Session,
        answer: Answer,
        outcomes: dict[str, tuple[int | None, State]],
        client: Client | None = None,
    ) -> None:
        """Write down what an answer says has happened, if it doesn't say that nothing has."""
        client = client or self.client
        if answer.status == UNSENT or (answer.is_telling and answer.status != 200):
            client.log.tally["refused"] += 1
            return
        act = client.act(answer, method, path, session)
        for key, (version, state) in outcomes.items():
            client.log.wrote(act, key, version, state)


def _after(before: State, status: str, *, hired: bool) -> tuple[int | None, State]:
    """The version and the state that follow; when it is changed nobody is told."""
    if not hired:
        return None, {"status": status}
    version = before["version"] + 1
    after = {**before, "status": status, "version": version}
    after.pop("updated_at", None)
    return version, after
