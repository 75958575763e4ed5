"""Visitors: they sign in, look around on both hosts, and end their sessions in every way.

From then on nobody is let in by the ended session: at once where it ended, elsewhere at once to
what is one's own, and to what is public within a second.
"""

import asyncio
import time
from typing import Any, Final

from tests.coherence.cast import Cast, GaveUp, register, sign_in
from tests.coherence.client import Client, Session, as_public
from tests.coherence.history import ENDED, State
from tests.coherence.readers import Reader
from tests.coherence.wire import UNSENT
from tests.factories import PASSWORD

LOOK_AROUND: Final = 0.6  # seconds
LINGER: Final = 1.8
_WAYS_TO_STAY: Final = ("logout", "logout", "password", "theft")
_WAYS: Final = (*_WAYS_TO_STAY, "leave")


class Visitor:
    """One visitor; `clients` are connections to both hosts, now to this worker and now to that."""

    def __init__(self, clients: list[Client], cast: Cast) -> None:
        self.clients = clients
        self.cast = cast
        self.chance = clients[0].chance
        self.readers = [Reader(client, cast) for client in clients]
        # The newest state, as far as answers told; None after a change that nobody confirmed.
        self._profile: State | None = None

    async def run(self) -> None:
        """Visit again and again, until all is over."""
        while not self.cast.is_over:
            try:
                await self.visit()
            except GaveUp:
                self.cast.log.tally["gave up"] += 1

    async def visit(self) -> None:
        """Sign up, look around, end the session, and go on trying."""
        client = self.chance.choice(self.clients)
        account = await register(client, self.chance.choice(["client", "freelancer"]))
        session = await sign_in(client, account)
        self._profile = account["profile"]
        await self._try_everywhere(session, LOOK_AROUND)
        client = self.chance.choice(self.clients)
        way = self.chance.choice(_WAYS if self._profile is not None else _WAYS_TO_STAY)
        if way == "logout":
            await self._end(client, session, "POST", "/auth/logout", ends={session.key: {}})
        elif way == "password":
            other = await sign_in(client, account)
            body: dict[str, Any] = {"current": PASSWORD, "new": f"{PASSWORD} and another"}
            ends: dict[str, Any] = {session.key: {}}
            await self._end(client, other, "POST", "/auth/password", ends=ends, body=body)
        elif way == "theft":
            body = {"refresh_token": session.refresh_token}
            if (await client.ask("POST", "/auth/refresh", body=body)).status == 200:
                # Who brings it a second time isn't let in, and nor is anybody else any more.
                ends = {session.key: {}}
                await self._end(client, None, "POST", "/auth/refresh", ends=ends, body=body)
        else:
            ends = {session.key: {}, f"user:{session.user_id}": self._gone()}
            await self._end(client, session, "DELETE", "/users/me", ends=ends)
        await self._try_everywhere(session, LINGER)

    def _gone(self) -> State:
        """What follows the newest state of somebody who leaves."""
        before = self._profile or {}
        after = {**before, "gone": True, "version": before.get("version", 0) + 1}
        after.pop("updated_at", None)
        return after

    async def _end(
        self,
        client: Client,
        session: Session | None,
        method: str,
        path: str,
        *,
        ends: dict[str, Any],
        body: Any = None,
    ) -> None:
        answer = await client.ask(method, path, session, body=body)
        if answer.status == UNSENT:
            return
        told = 204 if session is not None else 401
        if answer.is_telling and answer.status != told:
            raise AssertionError(f"{method} {path}: {answer.status}")
        act = client.act(answer, method, path, session)
        for key, state in ends.items():
            version = state.get("version", ENDED)
            client.log.wrote(act, key, version if answer.status == told else None, state)
        client.log.tally["ended sessions"] += answer.status == told

    async def _try_everywhere(self, session: Session, seconds: float) -> None:
        """Ask for all kinds of things through every client for some time."""
        end = time.monotonic() + seconds

        async def keep_trying(reader: Reader) -> None:
            while time.monotonic() < end and not self.cast.is_over:
                await self._try(reader, session)
                await asyncio.sleep(self.chance.uniform(0.01, 0.1))
                if self.chance.random() < 0.2:
                    reader.client.close()

        await asyncio.gather(*(keep_trying(reader) for reader in self.readers))

    async def _try(self, reader: Reader, session: Session) -> None:
        draw = self.chance.random()
        client = reader.client
        if draw < 0.3:
            await reader.look_at("project", self.chance.choice(self.cast.hot), session)
        elif draw < 0.5:
            await reader.look_at("user", session.user_id, self.chance.choice([None, session]))
        elif draw < 0.6:
            await reader.look_at_list(session)
        elif draw < 0.8:
            await client.ask("GET", "/users/me", session)
        else:
            patch = {"headline": f"Visit {next(client.log.numbers)}"}
            answer = await client.ask("PATCH", "/users/me", session, body=patch)
            if answer.status == UNSENT or (answer.is_telling and answer.status != 200):
                return
            version = answer.json()["version"] if answer.status == 200 else None
            state = as_public(answer.json()) if answer.status == 200 else patch
            known = self._profile
            if version is None or (known is not None and known["version"] < version):
                self._profile = state if version is not None else None
            act = client.act(answer, "PATCH", "/users/me", session)
            client.log.wrote(act, f"user:{session.user_id}", version, state)
