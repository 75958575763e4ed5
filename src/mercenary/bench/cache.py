"""`mercenary bench cache`: how much the cache answers, and what an answer costs by where it was.

On a private stack of a million projects, of which 200,000 are asked for:

- what a hit in memory, one in Valkey and a miss cost a worker in processor time, and the same
  lookups through cashews (see `in_process` and `lookups`);
- what they reach over HTTP, beside the bare callable on the same server in the same run. What is
  to be found in memory are the 20,000 most popular projects; what is to be found in Valkey is asked
  of a server whose memory holds a fiftieth of them; one row more has changes among the hits;
- which share the cache answers in a minute of reads by a Zipf law with changes among them, when
  each project has been asked for once before, by the X-Cache of every answer.

Everybody asks with a token of their own, and limits are on.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import uvloop

from mercenary.bench import bare_asgi, bursts, contenders, facts, load, rates, zipf
from mercenary.bench.cache_report import ALL, CHANGING, Answered, answered_in, verdicts_of
from mercenary.bench.contenders import BARE, Contender, Place
from mercenary.bench.costs import Costs, Plan
from mercenary.bench.generator import GeneratorError, python_module
from mercenary.bench.interrupt import ctrl_c_noted
from mercenary.bench.marketplace import BASE, answer, description_bodies, explore
from mercenary.bench.open_load import Phase
from mercenary.bench.playing import play, reads_and_changes
from mercenary.bench.rates import Course
from mercenary.bench.report import PRODUCT, Measurement, Row, judge
from mercenary.bench.traffic import UNCACHED, WRITE_SHARE, Ask, Traffic
from mercenary.bench.verdicts import Judged
from mercenary.settings import SetupError, cores, variable

PROJECTS: Final = 200_000
POPULAR: Final = 20_000
_LITTLE_MEMORY: Final = 1024 * 1024
_DRAWN_IDS: Final = 1 << 18
_CALLERS: Final = 64
_TIMES_KEPT: Final = 3
_GRACE_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Options:
    """`seconds` for each of `runs` runs over HTTP, `minute` for the share of hits.

    `rounds` of `requests` each inside of one process.
    """

    seconds: int = 5
    runs: int = 3
    minute: int = 60
    rounds: int = 5
    requests: int = 20_000
    scale: str = "1M"
    workers: int = 0
    connections: int = load.CONNECTIONS


def measure(options: Options, say: Callable[[str], None]) -> Judged[Row]:
    """Measure all of it, and judge; `say` gets a line for each step.

    Raises:
        SetupError: something is missing that the caller can mend, or a generator fails.
        StackError, ChildError: a server can't be started.
        Halted: somebody wants it to stop.
    """
    contenders.require_extra()
    workers = options.workers or cores()
    course = Course(load.choose(None), options.seconds, options.connections)
    with ExitStack() as exits:
        exits.enter_context(ctrl_c_noted())
        say(f"Starting a private stack with {options.scale} projects …")
        place = exits.enter_context(contenders.private_stack(options.scale, workers))
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mercenary-cache-")))
        ids = explore(place.product.target, place.product.callers.everybody).projects[:PROJECTS]
        ranked = Random(1).sample(ids, len(ids))  # noqa: S311 - a workload, no secret
        say("Measuring what an answer costs inside of a process …")
        costs = _costs(options, place, folder, ranked)
        bench = _Bench(place, exits, folder, ranked, course, workers, say)
        measurements = list(bench.over_http(options.runs))
        answered = [*bench.moment(), bench.minute(options.minute)]
    rows = judge(measurements, dict.fromkeys(bench.rows))
    return Judged(
        machine=facts.machine(extra_packages=("cashews", "redis")),
        commit=facts.commit(),
        command=facts.command(),
        rows=rows,
        verdicts=verdicts_of(rows, answered),
        detail={
            **asdict(options),
            "projects": len(ids),
            "callers": len(place.product.callers.everybody),
            "generator": course.generator.name,
            "write_share": WRITE_SHARE,
            "answered": msgspec.to_builtins(answered),
            **msgspec.to_builtins(costs),
            "measurements": msgspec.to_builtins(measurements),
        },
    )


def _costs(options: Options, place: Place, folder: Path, ranked: Sequence[int]) -> Costs:
    """What a process of its own has measured, on this stack (see `in_process`)."""
    plan = Plan(
        tokens=list(place.product.callers.everybody[:1000]),
        ids=list(ranked),
        rounds=options.rounds,
        requests=options.requests,
        result=str(folder / "costs.json"),
    )
    path = folder / "plan.json"
    path.write_bytes(msgspec.json.encode(plan))
    try:
        subprocess.run(  # noqa: S603 - our own module
            python_module("mercenary.bench.in_process", str(path)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            env=dict(place.environment),
            timeout=_GRACE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise GeneratorError("it took far too long") from error
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines()
        raise GeneratorError(lines[-1] if lines else "it said nothing") from error
    return msgspec.json.decode(Path(plan.result).read_bytes(), type=Costs)


class _Bench:
    """The servers under load; `ranked` are projects, the most popular first."""

    def __init__(
        self,
        place: Place,
        exits: ExitStack,
        folder: Path,
        ranked: Sequence[int],
        course: Course,
        workers: int,
        say: Callable[[str], None],
    ) -> None:
        self.product = product = place.product
        if not product.callers.admins:
            raise SetupError("there is no admin, who alone may change any project")
        self.folder = folder
        self.ranked = ranked
        self.course = course
        self.say = say
        callers = product.callers
        read = Ask("GET", f"{BASE}/projects/{{id}}", callers.everybody)
        change = Ask("PATCH", f"{BASE}/projects/{{id}}", callers.admins, description_bodies())
        uncached = msgspec.structs.replace(read, headers=UNCACHED)
        drawn = zipf.draw(ranked[:POPULAR], _DRAWN_IDS)
        alike = zipf.draw(ranked[:POPULAR], _DRAWN_IDS, exponent=0)
        self.rows = {
            "hit-memory": Traffic(read, drawn),
            "hit-valkey": Traffic(read, alike),
            "bypass": Traffic(uncached, drawn),
            CHANGING: Traffic(read, drawn, change),
        }
        body = answer(product.target, read, ranked[0])
        names = (bare_asgi.LIST, bare_asgi.PROJECTS, bare_asgi.ONE, bare_asgi.WRITTEN)
        bare = contenders.bare(place, dict.fromkeys(names, body), folder, workers)
        self.bare = exits.enter_context(bare)
        memory = {variable("cache_memory_bytes"): f"{_LITTLE_MEMORY}"}
        little = contenders.another(place, "little-memory", folder, workers, memory)
        self.little = exits.enter_context(little)
        for contender in (self.product, self.little, self.bare):
            say(course.meet(contender, self.rows[CHANGING], workers))
        # Each worker has a memory of its own, and connections are dealt among them by chance.
        for contender in (self.product, self.little) * _TIMES_KEPT:
            uvloop.run(self._ask_for(contender, ranked[:POPULAR]))

    def over_http(self, runs: int) -> Iterator[Measurement]:
        """Each row, and the bare callable beside it in the same run."""
        for run in range(runs):
            for row, traffic in self.rows.items():
                ours = self.little if row == "hit-valkey" else self.product
                for contender in (ours, self.bare):
                    measured = self.course.measure(contender, traffic, row, run)
                    self.say(rates.line_of(measured, runs))
                    name = BARE if contender is self.bare else PRODUCT
                    yield msgspec.structs.replace(measured, contender=name)

    def moment(self) -> list[Answered]:
        """Where the answers of both kinds of hits came from, for a run's seconds each."""
        popular, seconds = self.ranked[:POPULAR], self.course.seconds
        reads = partial(self._answered, ranked=popular, seconds=seconds, write_share=0)
        return [
            reads("hit-memory", self.product, exponent=zipf.EXPONENT),
            reads("hit-valkey", self.little, exponent=0),
        ]

    def minute(self, seconds: int) -> Answered:
        """Where the answers of a minute came from, once all has been asked for."""
        self.say(f"Asking for {len(self.ranked):,} projects once …")
        uvloop.run(self._ask_for(self.product, self.ranked))
        self.say(f"Counting for {seconds} s where answers come from …")
        return self._answered(ALL, self.product, ranked=self.ranked, seconds=seconds)

    async def _ask_for(self, contender: Contender, ids: Sequence[int]) -> None:
        target, tokens = contender.target, cycle(contender.callers.everybody)
        asks = (bursts.compose("GET", f"{BASE}/projects/{id}", target, next(tokens)) for id in ids)
        async with bursts.callers(target, _CALLERS) as callers:
            await bursts.each_once(callers, asks)

    def _answered(
        self,
        name: str,
        contender: Contender,
        *,
        ranked: Sequence[int],
        seconds: int,
        exponent: float = zipf.EXPONENT,
        write_share: float = WRITE_SHARE,
    ) -> Answered:
        score = reads_and_changes(
            self.folder,
            contender,
            ranked,
            [Phase(name, seconds, callers=_CALLERS)],
            connections=_CALLERS,
            exponent=exponent,
            write_share=write_share,
        )
        return answered_in(play(self.folder, score)[0], name)
