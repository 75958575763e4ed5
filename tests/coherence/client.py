"""Clients that write down what they ask and what they are answered.

A client is one caller over one connection at a time. Whatever it asks in the name of a session is
also a look at that session: answered, it is alive, and refused by 401, it has ended.
"""

import random
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import msgspec

from tests.coherence.history import (
    ALIVE,
    ENDED,
    Act,
    History,
    Promise,
    Read,
    Shown,
    State,
    Write,
)
from tests.coherence.hosts import Host
from tests.coherence.wire import Answer, Connection

BASE: Final = "/api/v1"
# No answer, 503 and 504 are what faults make of a request; anything else is a mistake of ours or
# of the product's.
_EXPECTED: Final = {200, 201, 204, 304, 401, 404, 409}
_BUG: Final = 500


class Session(msgspec.Struct, frozen=True):
    """Somebody signed in; `key` names the session in the history."""

    key: str
    token: str
    refresh_token: str
    user_id: int
    role: str


class Log:
    """What a round leaves: its history, and how often what happened."""

    def __init__(self) -> None:
        self.history = History()
        self.tally: Counter[str] = Counter()
        self.numbers = count(1)

    def wrote(self, act: Act, key: str, version: int | None, state: State) -> None:
        """Write down a change, by its version where it was acknowledged."""
        self.tally["writes" if version is not None else "unsure writes"] += 1
        self.history.writes.append(Write(act=act, key=key, version=version, state=state))


class Client:
    """One caller at one host; `chance` decides what it does."""

    def __init__(self, name: str, host: Host, log: Log, chance: random.Random) -> None:
        self.name = name
        self.host = host
        self.log = log
        self.chance = chance
        self.connection = Connection(host.port)

    async def ask(
        self,
        method: str,
        path: str,
        session: Session | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        promise: Promise = "database",
    ) -> Answer:
        """Ask once; `promise` is what the session was promised, a public answer's or the rest."""
        given = dict(headers or {})
        if session is not None:
            given["Authorization"] = f"Bearer {session.token}"
        answer = await self.connection.ask(method, BASE + path, given, body)
        tally = self.log.tally
        tally["requests"] += 1
        if not answer.is_telling and answer.status != _BUG:
            tally[f"failed {answer.status}"] += 1
            return answer
        if answer.status not in _EXPECTED:
            text = answer.body.decode(errors="replace")
            raise AssertionError(f"{method} {path}: {answer.status} {text}")
        if answer.cache:
            tally[answer.cache] += 1
        if session is not None:
            shown = Shown(ENDED if answer.status == 401 else ALIVE, {})
            act = self.act(answer, method, path, session)
            read = Read(act=act, promise=promise, key=session.key, shown=shown)
            self.log.history.reads.append(read)
        return answer

    def act(
        self, answer: Answer, method: str, path: str, session: Session | None, note: str = ""
    ) -> Act:
        """The request as the history has it."""
        who = "guest" if session is None else f"{session.role} {session.user_id}"
        told = [str(answer.status), answer.cache, answer.tag, note]
        return Act(
            begin=answer.begin,
            end=answer.end,
            host=self.host.number,
            client=self.name,
            worker=answer.worker,
            url=self.url(path, session),
            what=f"{method} {path} by {who}: {' '.join(filter(None, told))}",
        )

    def url(self, path: str, session: Session | None) -> str:
        """The path, by another name for admins, who have a view of their own."""
        admin = session is not None and session.role == "admin"
        return sys.intern(f"{path} of admins" if admin else path)

    def close(self) -> None:
        """Hang up; the next request may come to another worker."""
        self.connection.close()


def project_state(body: Mapping[str, Any]) -> State:
    """A project as an answer has it, the long text kept once however often it is read."""
    if "description" in body:
        return {**body, "description": sys.intern(body["description"])}
    return body


def user_state(body: Mapping[str, Any]) -> State:
    """A user as anybody may see one: what only they and admins are shown is left out."""
    return {**body, "gone": False}


def as_public(body: Mapping[str, Any]) -> State:
    """What others see of a user whose own view this is."""
    return user_state({**body, "email": None, "is_active": None})
