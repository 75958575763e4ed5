"""Why an address is answered from the cache or isn't: what everybody involved says about it.

First it looks, without touching anything: at the endpoint's declaration, this host's clocks, Valkey
and the relay's word. Then it asks the server, which is a look-up like any other, and may fill.
"""

from collections.abc import Sequence
from time import monotonic, time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
from starlette.types import Scope

from mercenary.auth.tokens import Verifier
from mercenary.cache.clocks import EVERYTHING, Clocks, is_strict, slot_of
from mercenary.cache.entries import HEARD_SECONDS, YOUNG_SECONDS, Want
from mercenary.cache.shelf import Inspection, Shelf, entry_key
from mercenary.cache.valkey import ValkeyAway
from mercenary.errors import ProblemError
from mercenary.http.access import GUEST, Caller
from mercenary.http.endpoint import BASE_PATH
from mercenary.http.invocation import Invocation
from mercenary.http.router import Router
from mercenary.http.sharing import Shared
from mercenary.settings import Settings

ASK_SECONDS: Final = 15.0


class Clock(msgspec.Struct, frozen=True):
    """A tag's clock on this host. `moved` is seconds ago, None where it never was."""

    tag: str
    moved: float | None
    being_written: bool
    announced: bool
    """Whether Valkey knows of this host's last change."""


class Stored(msgspec.Struct, frozen=True):
    """What Valkey has. Times are seconds; `against` is why it doesn't count, None where it does."""

    there: bool
    age: float | None
    left: float | None
    size: int
    cost: float | None
    leased: bool
    word_left: float | None
    epoch: str | None
    filled_in_epoch: str | None
    against: str | None


class Answered(msgspec.Struct, frozen=True):
    """What the server said to a HEAD request."""

    server: str
    status: int
    x_cache: str | None
    problem: str | None = None


class Explanation(msgspec.Struct):
    """All that is known of an address; `why` is the answer in plain words."""

    target: str
    caller: str
    endpoint: str | None = None
    shared: bool = False
    key: str | None = None
    stored_as: str | None = None
    tags: tuple[str, ...] = ()
    clocks: list[Clock] | None = None
    word_age: float | None = None
    valkey: Stored | None = None
    answered: Answered | None = None
    why: list[str] = []


class Explainer:
    """`clocks` are this host's, None where no worker has ever run here."""

    def __init__(
        self, settings: Settings, router: Router, shelf: Shelf, clocks: Clocks | None
    ) -> None:
        self._settings = settings
        self._router = router
        self._shelf = shelf
        self._clocks = clocks

    async def explain(
        self, target: str, *, token: str | None = None, server: str | None = None
    ) -> Explanation:
        """Explain a path with its query. `server` is where to ask, None to ask nobody."""
        found = Explanation(target, "guest")
        want = self._read(found, target, token)
        if want is not None:
            await self._look(found, want)
        if server is not None:
            found.answered = await _ask(server, target, token)
        found.why += _reasons(found)
        return found

    def _read(self, found: Explanation, target: str, token: str | None) -> Want[Any] | None:
        """What the request asks of the cache; None where the cache has no part in it."""
        parts = urlsplit(target)
        try:
            invocation, values = self._router.resolve("GET", parts.path)
            endpoint = invocation.endpoint
            found.endpoint = f"{endpoint.name}: GET {endpoint.route}"
            caller = GUEST if token is None else Verifier(self._settings).verify(token)
            found.caller = _named(caller)
            scope: Scope = {
                "headers": [],
                "path": parts.path,
                "path_values": values,
                "query_string": parts.query.encode(),
            }
            if not endpoint.cache.public:
                found.why.append(_private(invocation))
                return None
            shared = invocation.shared(scope, values)
        except ProblemError as problem:
            found.why.append(_refused(problem))
            return None
        if caller.is_admin:
            found.why.append("Admins get an answer of their own, which is never kept.")
            return None
        if _is_apart(shared, caller):
            found.why.append(
                "This caller is answered differently from a guest here (drafts of their own), so"
                " the answer is never kept."
            )
            return None
        found.shared = True
        found.key = _readable(invocation, shared.want)
        found.stored_as = entry_key(shared.want.digest)
        found.tags = shared.want.tags
        return shared.want

    async def _look(self, found: Explanation, want: Want[Any]) -> None:
        if self._clocks is not None:
            tags = (EVERYTHING, *want.tags)
            found.clocks = [_clock(self._clocks, tag) for tag in tags]
            heard = self._clocks.heard
            found.word_age = monotonic() - heard if heard else None
        try:
            found.valkey = _stored(want, await self._shelf.inspect(want))
        except ValkeyAway as away:
            found.why.append(f"Valkey doesn't answer ({away}); only workers' memory can have it.")


def _named(caller: Caller) -> str:
    return "guest" if caller.id is None else f"user {caller.id}, {caller.role}"


def _is_apart(shared: Shared, caller: Caller) -> bool:
    return caller.id is not None and shared.apart is not None and shared.apart(caller.id)


def _refused(problem: ProblemError) -> str:
    said = problem.detail or problem.title
    faults = "".join(f"; {fault.pointer}: {fault.detail}" for fault in problem.faults)
    return f"The request is refused ({problem.status}: {said}{faults}), which is never kept."


def _private(invocation: Invocation) -> str:
    endpoint = invocation.endpoint
    if endpoint.base != BASE_PATH:
        return "This isn't part of the API's answers; the cache has no part in it."
    if endpoint.access.guests:
        return "The endpoint isn't declared shared, so its answers are never kept."
    return f"It depends on who asks ({endpoint.access.name}), so it is never kept or shared."


def _readable(invocation: Invocation, want: Want[Any]) -> str:
    """The key as people write it: the route, its ids, and what isn't left out."""
    head = f"GET {invocation.endpoint.route} "
    path, values = msgspec.msgpack.decode(want.key[len(head.encode()) :])
    names = invocation.signature.query.__struct_fields__
    given = path | dict(zip(names, values, strict=True))
    said = [f"{name}={value}" for name, value in given.items() if value not in (None, [])]
    return head + " ".join(said)


def _clock(clocks: Clocks, tag: str) -> Clock:
    slot = slot_of(tag)
    shown = clocks.read(slot)
    return Clock(
        tag, clocks.seconds_since(shown), clocks.is_being_written(shown), clocks.is_told(slot)
    )


def _stored(want: Want[Any], seen: Inspection) -> Stored:
    envelope = seen.envelope
    return Stored(
        there=envelope is not None,
        age=None if envelope is None else max(0.0, time() - envelope.born),
        left=seen.left,
        size=seen.size,
        cost=None if envelope is None else envelope.cost,
        leased=seen.leased,
        word_left=seen.word,
        epoch=_text(seen.shown[0]) if seen.shown else None,
        filled_in_epoch=None if envelope is None else _text(envelope.shown[0]),
        against=_against(want, seen),
    )


def _against(want: Want[Any], seen: Inspection) -> str | None:
    """Why nothing is taken from Valkey now; None where the entry counts."""
    envelope = seen.envelope
    if seen.word is None:
        return "Valkey doesn't have the relay's word, without which nothing there counts."
    if envelope is None:
        return (
            "Valkey doesn't have it: nobody has filled it within its lifetime, or Valkey had no"
            " room for it."
        )
    if seen.shown is None or envelope.key != want.key:
        return "What Valkey has there is another key's, or of another epoch."
    if envelope.shown[0] != seen.shown[0]:
        return "It was filled in an epoch that is over: Valkey was restarted, or its clocks lost."
    moved = [
        tag
        for tag, then, now in zip(
            (EVERYTHING, *want.tags), envelope.shown[1:], seen.shown[1:], strict=True
        )
        if then != now
    ]
    if moved:
        named = " and ".join("everything (a purge)" if tag == EVERYTHING else tag for tag in moved)
        return f"What Valkey has doesn't count any more: {named} changed after it was filled."
    return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


async def _ask(server: str, target: str, token: str | None) -> Answered:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        async with httpx.AsyncClient(timeout=ASK_SECONDS) as client:
            answer = await client.head(server + target, headers=headers)
    except httpx.HTTPError as error:
        return Answered(server, 0, None, str(error) or type(error).__name__)
    return Answered(server, answer.status_code, answer.headers.get("x-cache"))


def _reasons(found: Explanation) -> list[str]:
    """What follows from what was found, in plain words."""
    answered = found.answered
    if not found.shared:
        return []
    if answered is None:
        return _causes(found)
    if answered.problem is not None:
        return [f"The server doesn't answer ({answered.problem}).", *_causes(found)]
    if answered.x_cache == "hit-memory":
        return ["The worker that was asked has it in memory, and its clocks haven't moved."]
    if answered.x_cache == "hit-redis":
        return ["The worker that was asked hadn't it in memory, and took it from Valkey."]
    if answered.status == 404:
        return ["A guest finds nothing there: it is gone, or a draft. Only finds are kept."]
    if answered.status >= 400:
        return [f"The server answers {answered.status}, which is never kept."]
    return ["The worker that was asked had to ask the database.", *_causes(found)]


def _causes(found: Explanation) -> list[str]:
    """Why a worker that hasn't it in memory has to ask the database."""
    clocks: Sequence[Clock] = found.clocks or ()
    said = [
        f"{each.tag} is being changed right now; nothing is kept of it until that is over."
        for each in clocks
        if each.being_written and is_strict(each.tag)
    ]
    said += [
        f"{each.tag} was changed on this host and the relay hasn't announced it yet, so Valkey"
        " isn't asked."
        for each in clocks
        if not each.announced and not each.being_written
    ]
    if found.clocks is not None and (found.word_age is None or found.word_age > HEARD_SECONDS):
        said.append(
            f"This host doesn't hear the relay's word, so Valkey isn't asked and nothing is kept"
            f" in memory for more than {YOUNG_SECONDS} s. Is a relay running?"
        )
    if found.valkey is not None and found.valkey.against is not None:
        said.append(found.valkey.against)
    if found.valkey is not None and found.valkey.leased:
        said.append("Another process is filling it right now.")
    if found.valkey is not None and not said:
        said.append("It is in Valkey and counts: a worker without it in memory takes it there.")
    return said
