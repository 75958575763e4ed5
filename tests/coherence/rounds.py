"""One round: a cast, a load of so many seconds with faults in it, a last look at all, a verdict."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from tests.coherence.cast import Cast, assemble
from tests.coherence.client import Client, Log
from tests.coherence.faults import Faults
from tests.coherence.history import History
from tests.coherence.hosts import HOSTS, WORKERS, Hosts
from tests.coherence.judge import Violation, judge
from tests.coherence.readers import Reader
from tests.coherence.story import summary
from tests.coherence.timeline import LAG
from tests.coherence.visitors import Visitor
from tests.coherence.writers import Writer

WRITERS: Final = 8
READERS: Final = 8
# A second, of each. Two cores hold the hosts, what they share, and this.
READS: Final = 25.0
WRITES: Final = 6.0
_CALM: Final = 2.0  # seconds before the first fault and after the last
# What must have happened in each second of a round, or it proves nothing: about a fifth of what
# does where both cores are free.
_FLOORS: Final = {
    "reads": 30.0,
    "lists": 4.0,
    "writes": 6.0,
    "hired": 0.3,
    "ended sessions": 0.1,
    "hit-memory": 5.0,
    "hit-redis": 0.2,
}


class Outcome(msgspec.Struct, frozen=True):
    """What a round has found, what it did, and its history for who wants to know why.

    `wanting` names what happened too seldom for the verdict to mean anything.
    """

    seed: int
    wanting: list[str]
    violations: list[Violation]
    tally: Counter[str]
    history: History

    @property
    def described(self) -> str:
        """What the round did, and what it found, in words."""
        done = ", ".join(f"{name} {count}" for name, count in sorted(self.tally.items()))
        verdict = "Nothing was found."
        if self.wanting:
            verdict = f"Too little happened: {'; '.join(self.wanting)}."
        if self.violations:
            verdict = summary(self.history, self.violations)
        return f"Round {self.seed}: {done}.\n{verdict}"


class Round:
    """Plays one round on hosts that run; the seed decides who does what and which faults come."""

    def __init__(self, hosts: Hosts, seed: int, *, faults: bool = True) -> None:
        self.hosts = hosts
        self.seed = seed
        self.log = Log()
        self.chance = random.Random(seed)
        self._with_faults = faults

    async def play(self, seconds: float) -> Outcome:
        """Load for so many seconds, then look at everything, then judge."""
        cast = await assemble(self.hosts, self.log, self.chance)
        await self._load(cast, seconds)
        await asyncio.sleep(LAG)
        await self._look_at_all(cast)
        violations = await asyncio.to_thread(judge, self.log.history)
        history, tally = self.log.history, self.log.tally
        return Outcome(self.seed, self._wanting(seconds), violations, tally, history)

    def _wanting(self, seconds: float) -> list[str]:
        tally = self.log.tally
        floors = {name: rate * seconds for name, rate in _FLOORS.items()}
        if self._with_faults:
            floors |= dict.fromkeys(Faults(self.hosts, self.log, self.chance).all, 1)
        found = [
            f"{name}: {tally[name]} of {floor:g}"
            for name, floor in floors.items()
            if tally[name] < floor
        ]
        workers = {read.act.worker for read in self.log.history.reads}
        if len(workers) < HOSTS * WORKERS:
            found.append(f"workers: {len(workers)} of {HOSTS * WORKERS}")
        return found

    async def _load(self, cast: Cast, seconds: float) -> None:
        clients: list[Client] = []
        try:
            async with asyncio.TaskGroup() as group:  # whose first failure ends all
                for caller in self._callers(cast, clients):
                    group.create_task(caller)
                await self._play_faults(seconds)
                cast.is_over = True
        finally:
            for client in clients:
                client.close()

    def _callers(self, cast: Cast, clients: list[Client]) -> list[Coroutine[Any, Any, None]]:
        def client(name: str, number: int) -> Client:
            host = self.hosts.hosts[number % len(self.hosts.hosts)]
            chance = random.Random(self.chance.getrandbits(64))
            clients.append(Client(name, host, self.log, chance))
            return clients[-1]

        callers = [
            Reader(client(f"reader-{number}", number), cast).run(READS) for number in range(READERS)
        ]
        callers += [
            Writer(
                client(f"writer-{number}", number),
                client(f"writer-{number}-looking", number),
                client(f"writer-{number}-afar", number + 1),
                cast,
            ).run(WRITES)
            for number in range(WRITERS)
        ]
        callers += [
            Visitor([client(f"visitor-{number}-{each}", each) for each in range(4)], cast).run()
            for number in range(2)
        ]
        return callers

    async def _play_faults(self, seconds: float) -> None:
        if not self._with_faults:
            await asyncio.sleep(seconds)
            return
        await asyncio.sleep(_CALM)
        await Faults(self.hosts, self.log, self.chance).run(seconds - 2 * _CALM)
        await asyncio.sleep(_CALM)

    async def _look_at_all(self, cast: Cast) -> None:
        """Nothing that was acknowledged is gone: each thing, on each host, and in the database."""
        for host in self.hosts.hosts:
            client = Client(f"auditor-{host.number}", host, self.log, self.chance)
            reader = Reader(client, cast)
            for id in sorted(cast.owner_of):
                await reader.look_at("project", id, cast.owner_of[id], plainly=True)
                await reader.look_at("project", id, cast.admin, plainly=True)
            for person in cast.owners + cast.freelancers:
                await reader.look_at("user", person.user_id, None, plainly=True)
            for _ in range(20):
                await reader.look_at_own()
                await reader.look_at_list(None)
            client.close()
