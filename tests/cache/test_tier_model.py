"""No order of writes, fills, announcements and failures makes an old entry count.

Two hosts of two workers each run the product's clocks and tiers on a clock of the test's. Writers
begin, commit, settle or are killed anywhere; fills read and store at any step; the relay announces
late or twice, and dies; hosts hear late, or lose their subscription; Valkey loses everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercenary.cache import clocks as clocks_module
from mercenary.cache import tiers as tiers_module
from mercenary.cache.announcer import WORD_SECONDS
from mercenary.cache.clocks import EVERYTHING, Clocks, slot_of
from mercenary.cache.entries import Codec, Want
from mercenary.cache.memory import Memory
from mercenary.cache.shelf import Envelope, Found, Shelf
from mercenary.cache.tiers import Tiers

HOSTS, WORKERS = 2, 2
LAG = 1.0
NUMBERS: Codec[int] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)
LIST = "projects"
FIRST = "project:1"
# In the same slot, so that its writers, whom no row's lock keeps apart, move the same clock.
SECOND = next(
    f"project:{n}" for n in range(2, 1 << 24) if slot_of(f"project:{n}") == slot_of(FIRST)
)
TAGS = (FIRST, SECOND, LIST)


@dataclass
class Writer:
    """One write of a resource, which shows in the list too."""

    tag: str
    host: int
    stamp: int
    version: int = 0
    total: int = 0


@dataclass
class World:
    """The database, the outbox and Valkey."""

    now: float = 1_000.0
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TAGS, 0))
    # When each version was committed, by tag.
    commits: dict[str, list[float]] = field(default_factory=lambda: {tag: [] for tag in TAGS})
    outbox: list[Writer] = field(default_factory=list)
    epoch: bytes | None = None
    moved: dict[int, bytes] = field(default_factory=dict)
    word_until: float = 0.0
    entries: dict[bytes, Envelope] = field(default_factory=dict)
    leases: dict[bytes, float] = field(default_factory=dict)
    pending: list[Callable[[], None]] = field(default_factory=list)
    epochs: int = 0

    def later(self, act: Callable[[], Any]) -> "asyncio.Future[Any]":
        """What happens at one step of the test, and is known at another."""
        known: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def happen() -> None:
            outcome = act()

            def tell() -> None:
                if not known.done():
                    known.set_result(outcome)

            self.pending.append(tell)

        self.pending.append(happen)
        return known


class ModelledShelf(Shelf):
    """Entries in the world's Valkey, which answers when the test wants."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def away(self) -> bool:
        return False

    async def look(self, want: Want[Any]) -> Found | None:
        world = self.world

        def act() -> Found:
            leased = world.leases.get(want.key, 0.0) > world.now
            if world.epoch is None:
                return Found(None, None, leased)
            shown = (world.epoch, *(world.moved.get(slot) for slot in want.slots))
            envelope = world.entries.get(want.key)
            if envelope is None or envelope.shown != shown or world.now >= world.word_until:
                return Found(None, shown, leased)
            return Found(envelope, shown, leased, want.codec.decode(envelope.value))

        found: Found = await world.later(act)
        return found

    async def lease(self, want: Want[Any]) -> bool:
        world = self.world

        def act() -> bool:
            if world.leases.get(want.key, 0.0) > world.now:
                return False
            world.leases[want.key] = world.now + 1.0
            return True

        taken: bool = await world.later(act)
        return taken

    async def put(
        self, want: Want[Any], envelope: Envelope, *, seconds: float, leased: bool
    ) -> None:
        await self.world.later(lambda: self.world.entries.__setitem__(want.key, envelope))
        if leased:
            await self.release(want)

    async def release(self, want: Want[Any]) -> None:
        await self.world.later(lambda: self.world.leases.pop(want.key, None))

    async def close(self) -> None:
        self.world.pending.clear()


@dataclass
class Host:
    """One host: its clocks, its workers, and what it has been sent and not heard yet."""

    clocks: Clocks
    workers: list[Tiers]
    inbox: list[tuple[list[Writer], float | None]] = field(default_factory=list)
    subscribed: bool = False
    # By tag: what nobody who asks here may see less of.
    floor: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TAGS, 0))


class Marketplace:
    """The steps; what each reader is shown is judged when it is answered."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.patch = pytest.MonkeyPatch()
        self.world = world = World()
        self.patch.setattr(clocks_module, "monotonic", lambda: world.now)
        clock = SimpleNamespace(monotonic=lambda: world.now, time=lambda: world.now)
        self.patch.setattr(tiers_module, "time", clock)
        # A pause of the product's is a step like any other.
        paused = SimpleNamespace(**vars(asyncio))
        paused.sleep = lambda _: world.later(lambda: None)
        self.patch.setattr(tiers_module, "asyncio", paused)
        self.loop = asyncio.new_event_loop()
        self.writers: list[Writer] = []
        self.committed: list[Writer] = []
        self.taken: list[tuple[list[Writer], float]] = []
        self.hosts: list[Host] = []
        self.readers: list[asyncio.Task[int]] = []

    def open(self) -> None:
        """Begin with both hosts listening, and a word that was given."""
        for _ in range(HOSTS):
            clocks = Clocks()
            self.hosts.append(
                Host(
                    clocks,
                    [
                        Tiers(clocks, Memory(1 << 20), ModelledShelf(self.world), 60.0, 5.0)
                        for _ in range(WORKERS)
                    ],
                )
            )
        for number in range(HOSTS):
            self.subscribe(number)
        self.relay_works()

    def close(self) -> None:
        for reader in self.readers:
            reader.cancel()

        async def give_up() -> None:
            await asyncio.gather(*self.readers, return_exceptions=True)
            for host in self.hosts:
                for worker in host.workers:
                    await worker.close()

        self.loop.run_until_complete(give_up())
        self.loop.close()
        self.patch.undo()

    def settle_down(self) -> None:
        """Let everything run that waits for no step."""

        async def turns() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for reader in [reader for reader in self.readers if reader.done()]:
            self.readers.remove(reader)
            reader.result()

    def go(self) -> None:
        """One step of any kind; what makes a long way short comes more often."""
        chance = self.chance
        host, worker = chance.randrange(HOSTS), chance.randrange(WORKERS)
        resource = chance.choice((FIRST, SECOND))
        steps: list[tuple[int, Callable[[], None]]] = [
            (12, lambda: self.pass_time(chance.choice((0.01, 0.05, 0.1, 0.3, 0.8)))),
            (1, lambda: self.pass_time(16.0)),
            (18, lambda: self.let_go_on(chance.choice((2, 4, 100)))),
            (10, lambda: self.step(chance.randrange(50))),
            (10, lambda: self.write(resource, host)),
            (25, lambda: self.ask(host, worker, chance.choice(TAGS), chance.random() < 0.1)),
            (15, self.relay_works),
            (3, lambda: self.begin_write(resource, host)),
            (3, lambda: self.end_transaction(chance.choice(("commit", "commit", "undo", "die")))),
            (3, lambda: self.settle_write(dies=chance.random() < 0.3)),
            (2, lambda: self.relay_takes(chance.choice((1, 100)))),
            (2, lambda: self.relay_announces(dies=chance.random() < 0.3)),
            (2, lambda: self.hear(host)),
            (1, lambda: self.subscribe(host)),
            (1, lambda: self.lose_subscription(host)),
            (1, self.lose_all_in_valkey),
        ]
        weights = [weight for weight, _ in steps]
        chance.choices(steps, weights)[0][1]()

    # Time, and whatever waits for something.

    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds

    def let_go_on(self, steps: int) -> None:
        for _ in range(steps):
            self.step(0)

    def step(self, which: int) -> None:
        if not self.world.pending:
            return
        self.world.pending.pop(which % len(self.world.pending))()
        self.settle_down()

    # Writers.

    def begin_write(self, tag: str, host: int) -> None:
        if any(writer.tag == tag for writer in self.writers):
            return  # it waits for the row's lock
        clocks = self.hosts[host].clocks
        writer = Writer(tag, host, clocks.fresh())
        clocks.begin((tag, LIST), writer.stamp)
        self.writers.append(writer)

    def end_transaction(self, fate: str) -> None:
        """Commit, undo, or die with the mark in place; the one that began last."""
        if not self.writers:
            return
        writer = self.writers.pop()
        if fate == "commit":
            world = self.world
            for tag in (writer.tag, LIST):
                world.versions[tag] += 1
                world.commits[tag].append(world.now)
            writer.version, writer.total = world.versions[writer.tag], world.versions[LIST]
            world.outbox.append(writer)
            self.committed.append(writer)
        elif fate == "undo":
            self.hosts[writer.host].clocks.settle((writer.tag, LIST), writer.stamp)

    def settle_write(self, *, dies: bool) -> None:
        """Go on behind COMMIT; the one that committed first, but for `write`'s own."""
        if self.committed:
            self.settle(self.committed.pop(0), dies=dies)

    def settle(self, writer: Writer, *, dies: bool) -> None:
        if not dies:
            host = self.hosts[writer.host]
            host.clocks.settle((writer.tag, LIST), writer.stamp)
            host.floor[writer.tag] = max(host.floor[writer.tag], writer.version)

    def write(self, tag: str, host: int) -> None:
        before = len(self.writers)
        self.begin_write(tag, host)
        if len(self.writers) > before:
            self.end_transaction("commit")
            self.settle(self.committed.pop(), dies=False)

    # Readers.

    def ask(self, host: int, worker: int, tag: str, anew: bool) -> None:
        here, world = self.hosts[host], self.world
        old = sum(1 for moment in world.commits[tag] if moment < world.now - LAG)
        least = max(here.floor[tag], old)
        if anew:
            least = world.versions[tag]  # as the database has it
        want = Want(tag.encode(), (tag,), NUMBERS)

        async def read() -> int:
            value: int = await world.later(lambda: world.versions[tag])
            return value

        async def judged() -> int:
            tiers = here.workers[worker]
            fill: Callable[[], Awaitable[int]] = read
            value = await tiers.force(want, fill) if anew else (await tiers.get(want, fill))[0]
            assert value >= least, f"{tag} of {value}, at least {least} was to be seen"
            return value

        self.readers.append(self.loop.create_task(judged()))
        self.settle_down()

    # The relay, the hosts' subscriptions and Valkey.

    def relay_works(self) -> None:
        self.taken.clear()
        self.relay_takes(100)
        self.relay_announces(dies=False)
        for number, host in enumerate(self.hosts):
            for _ in list(host.inbox):
                self.hear(number)

    def relay_takes(self, most: int) -> None:
        rows = self.world.outbox[:most]
        self.taken.append((rows, self.world.now if rows == self.world.outbox else 0.0))

    def relay_announces(self, *, dies: bool) -> None:
        """Announce what was taken, and delete it unless the relay dies before."""
        if not self.taken:
            return
        world = self.world
        rows, since = self.taken.pop(0)
        if world.epoch is None:
            world.epochs += 1
            world.epoch = b"epoch %d" % world.epochs
        world.epochs += 1
        for row in rows:
            for tag in (row.tag, LIST):
                world.moved[slot_of(tag)] = b"%d" % world.epochs
        if since:
            world.word_until = max(world.word_until, since + WORD_SECONDS)
        for host in self.hosts:
            if host.subscribed:
                host.inbox.append((rows, since or None))
        if not dies:
            world.outbox = [row for row in world.outbox if row not in rows]

    def hear(self, which: int) -> None:
        host = self.hosts[which]
        if host.inbox:
            rows, since = host.inbox.pop(0)
            for row in rows:
                host.clocks.apply((row.tag, LIST), row.stamp)
                host.floor[row.tag] = max(host.floor[row.tag], row.version)
            if since is not None:
                host.clocks.hear(since)

    def subscribe(self, which: int) -> None:
        host = self.hosts[which]
        host.inbox.clear()
        host.subscribed = True
        host.clocks.move(EVERYTHING)

    def lose_subscription(self, which: int) -> None:
        self.hosts[which].inbox.clear()
        self.hosts[which].subscribed = False

    def lose_all_in_valkey(self) -> None:
        world = self.world
        world.epoch, world.word_until = None, 0.0
        world.moved.clear()
        world.entries.clear()
        world.leases.clear()


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_nobody_is_shown_what_is_older_than_the_contract_allows(seed: int) -> None:
    """Less than an acknowledged write of the host, or than what was committed a second before."""
    marketplace = Marketplace(seed)
    try:
        marketplace.open()
        for _ in range(150):
            marketplace.go()
    finally:
        marketplace.close()
