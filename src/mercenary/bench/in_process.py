"""What a request costs a worker, by where its answer was found, without a server around it.

One process runs the whole application and gives it requests as a server would: signed in, counted,
with every layer of the edge. Its own processor time is measured, so what Valkey and PostgreSQL do
meanwhile isn't in it; what the process does beside the requests, such as storing fills, is.

It runs under the settings of a stack, whose tables, Valkey and clocks it shares, and reads its plan
from the file it is given.
"""

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mercenary.app import create_app
from mercenary.bench import lookups, memory_store
from mercenary.bench.costs import Cost, Costs, Plan
from mercenary.bench.marketplace import BASE
from mercenary.cache import caches

AT_ONCE: Final = 16
"""Fewer than a worker lets in at once, so that none is refused."""
KEYS: Final = 2_000
"""Projects that a round asks for."""
_DEADLINE_SECONDS: Final = 30.0
# A hit waits for nothing, so the loop, which hears of changes, is given a turn now and then.
_TURN: Final = 50


class Ledger:
    """Stands for a server: gives bodies that are empty, and keeps the heads of what was sent."""

    def __init__(self) -> None:
        self.heads: list[Message] = []

    async def receive(self) -> Message:
        """The request's body."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a part of an answer."""
        if message["type"] == "http.response.start":
            self.heads.append(message)

    def found(self) -> Counter[str]:
        """How often which word was in X-Cache; without one, the status."""
        words = Counter[str]()
        for head in self.heads:
            named = dict(head["headers"])
            words[named.get(b"x-cache", b"%d" % head["status"]).decode()] += 1
        self.heads.clear()
        return words


class Requests:
    """Makes requests as a server hands them over."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._tokens = cycle(plan.tokens)

    def of(self, ids: Sequence[int], count: int, *lines: tuple[bytes, bytes]) -> list[Scope]:
        """So many requests for these projects in turn, each by the next caller."""
        return [self._scope(id, lines) for id in islice(cycle(ids), count)]

    def _scope(self, id: int, lines: Sequence[tuple[bytes, bytes]]) -> Scope:
        path = f"{BASE}/projects/{id}"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"authorization", f"Bearer {next(self._tokens)}".encode()),
                *lines,
            ],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
            "extensions": {},
        }


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer two bytes, whatever is asked: what measuring itself costs."""
    del scope, receive
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def measure(plan: Plan) -> list[Cost]:
    """Measure every kind.

    Raises:
        TimeoutError: what was filled doesn't come to stay.
    """
    application = create_app()
    await application.start()
    try:
        bench = Bench(application, plan)
        await bench.meet()
        costs = [
            await bench.cost("bare callable", bare, bench.in_memory, at_once=1),
            await bench.cost("hit in memory", application, bench.in_memory, at_once=1),
            await bench.cost("the same, not modified", application, bench.known, at_once=1),
            await bench.cost("hit in Valkey", application, bench.in_valkey, at_once=AT_ONCE),
            await bench.cost("miss", application, bench.kept_nowhere, at_once=AT_ONCE),
            await bench.cost("bypass", application, bench.uncached, at_once=AT_ONCE),
        ]
        return costs + await lookups.measure(plan.ids, plan.rounds, plan.requests)
    finally:
        await application.stop()


class Bench:
    """The application, and what it is asked in each round."""

    def __init__(self, application: ASGIApp, plan: Plan) -> None:
        self.application = application
        self.plan = plan
        self.ledger = Ledger()
        self.requests = Requests(plan)
        self.keys = plan.ids[: min(KEYS, len(plan.ids) // 2)]
        # Nobody has asked for the rest, so each round takes some of it.
        self._fresh = iter(plan.ids[len(self.keys) :])

    async def cost(
        self,
        name: str,
        app: ASGIApp,
        prepare: Callable[[], Awaitable[list[Scope]]],
        *,
        at_once: int,
    ) -> Cost:
        """What the requests cost that `prepare` gives for each round, so many at once."""
        microseconds, rates, found = [], [], Counter[str]()
        for _ in range(self.plan.rounds):
            scopes = await prepare()
            gc.collect()
            began, used = time.perf_counter(), time.process_time()
            await self._ask(app, scopes, at_once)
            microseconds.append((time.process_time() - used) / len(scopes) * 1e6)
            rates.append(len(scopes) / (time.perf_counter() - began))
            found += self.ledger.found()
        return Cost(name, microseconds, rates, dict(found))

    async def meet(self) -> None:
        """Have each caller's token verified and session known."""
        scopes = self.requests.of(self.keys, len(self.plan.tokens))
        await self._ask(self.application, scopes, AT_ONCE)
        self.ledger.found()

    async def in_memory(self) -> list[Scope]:
        """Requests for what is in this process's memory."""
        await self._ask(self.application, self.requests.of(self.keys, len(self.keys)), AT_ONCE)
        self.ledger.found()
        return self.requests.of(self.keys, self.plan.requests)

    async def known(self) -> list[Scope]:
        """The same by callers who have the answer."""
        await self.in_memory()
        return self.requests.of(self.keys, self.plan.requests, (b"if-none-match", b"*"))

    async def in_valkey(self) -> list[Scope]:
        """Requests for what is in Valkey and not in this process's memory."""
        memory = caches.current().answers.memory
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while True:
            memory.clear()
            scopes = self.requests.of(self.keys, len(self.keys))
            await self._ask(self.application, scopes, AT_ONCE)
            found = self.ledger.found()
            if found["hit-redis"] == len(scopes):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"Valkey doesn't keep what was filled: {found}")
        memory.clear()
        return self.requests.of(self.keys, len(self.keys))

    async def kept_nowhere(self) -> list[Scope]:
        """Requests for what nobody has asked for."""
        share = max(1, (len(self.plan.ids) - len(self.keys)) // self.plan.rounds)
        fresh = list(islice(self._fresh, min(share, KEYS)))
        return self.requests.of(fresh, len(fresh))

    async def uncached(self) -> list[Scope]:
        """Requests that want their answer from the database."""
        return self.requests.of(self.keys, len(self.keys), (b"cache-control", b"no-cache"))

    async def _ask(self, app: ASGIApp, scopes: Sequence[Scope], at_once: int) -> None:
        waiting = iter(scopes)
        receive, send = self.ledger.receive, self.ledger.send

        async def take_turns() -> None:
            for number, scope in enumerate(waiting):
                await app(scope, receive, send)
                if number % _TURN == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(*(take_turns() for _ in range(at_once)))


def main(path: Path) -> None:
    """Measure what the plan in this file says, and write it where that says."""
    plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    node_bytes = memory_store.node_bytes()
    costs = [*memory_store.measure(plan.rounds), *uvloop.run(measure(plan))]
    Path(plan.result).write_bytes(msgspec.json.encode(Costs(costs, node_bytes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
