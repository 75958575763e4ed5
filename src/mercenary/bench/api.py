"""`mercenary bench api`: the guide's three figures of HTTP, on a private or a running stack.

Contenders take turns within each run, so that what else the machine does hits all of them alike.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from mercenary.bench import bare_asgi, contenders, facts, load, rates, zipf
from mercenary.bench.contenders import Contender, Place
from mercenary.bench.generator import GeneratorName
from mercenary.bench.interrupt import ctrl_c_noted
from mercenary.bench.marketplace import (
    BASE,
    Callers,
    Marketplace,
    answer,
    description_bodies,
    explore,
    headline_bodies,
    project_bodies,
)
from mercenary.bench.processes import listener
from mercenary.bench.rates import Course
from mercenary.bench.report import PRODUCT, Floor, Measurement, Report, judge
from mercenary.bench.traffic import UNCACHED, WRITE_SHARE, Ask, Target, Traffic
from mercenary.settings import SetupError, cores
from mercenary.settings import load as load_settings

# The guide, «Benchmarks». Of what a cache is told to leave alone it says nothing.
FLOORS: Final[Mapping[str, Floor | None]] = {
    "list-users": Floor(1_200, 45),
    "get-project": Floor(950, 80),
    "get-project-uncached": None,
    "list-projects-uncached": None,
    "create-project": Floor(850, 120),
}
DRAWN_IDS: Final = 1 << 18


@dataclass(frozen=True)
class Options:
    """What to measure and how long: `seconds` for each of `runs` runs of each row."""

    seconds: int = 5
    runs: int = 3
    scale: str = "100k"
    workers: int = 0
    connections: int = load.CONNECTIONS
    exponent: float = zipf.EXPONENT
    generator: GeneratorName | None = None
    url: str | None = None
    tokens: Path | None = None


@dataclass(frozen=True)
class Bench:
    """Everything that a run needs."""

    options: Options
    course: Course
    contenders: Sequence[Contender]
    traffic: Mapping[tuple[str, str], Traffic]
    say: Callable[[str], None]


def measure(options: Options, say: Callable[[str], None]) -> Report:
    """Measure every row for every contender, and judge; `say` gets a line for each step.

    Raises:
        SetupError: something is missing that the caller can mend.
        StackError, ChildError: a server can't be started.
        Halted: somebody wants it to stop.
    """
    contenders.require_extra()
    options = replace(options, workers=options.workers or cores())
    generator = load.choose(options.generator)
    with ExitStack() as exits:
        exits.enter_context(ctrl_c_noted())
        if options.url is None:
            say(f"Starting a private stack with {options.scale} projects …")
            place = exits.enter_context(contenders.private_stack(options.scale, options.workers))
        else:
            place = _running(options)
        market = explore(place.product.target, place.product.callers.everybody)
        asks = Asks(market, zipf.draw(market.projects, DRAWN_IDS, exponent=options.exponent))
        running = list(exits.enter_context(_all(place, asks, options, say)))
        course = Course(generator, options.seconds, options.connections)
        bench = Bench(options, course, running, asks.traffic(running), say)
        for contender in running:
            traffic = bench.traffic[next(iter(FLOORS)), contender.name]
            say(course.meet(contender, traffic, options.workers))
        measurements = [one for run in range(options.runs) for one in _run(bench, run)]
    return Report(
        machine=facts.machine(extra_packages=("fastapi", "pydantic")),
        commit=facts.commit(),
        command=facts.command(),
        rows=judge(measurements, FLOORS),
        detail=_detail(bench, place, market, measurements),
    )


class Asks:
    """What each row asks."""

    def __init__(self, market: Marketplace, ids: Sequence[int]) -> None:
        self.ids = ids
        self._cursors = market.cursors
        self._projects = project_bodies(market.skills)
        self._descriptions = description_bodies()
        self._headlines = headline_bodies()

    def traffic(self, running: Sequence[Contender]) -> dict[tuple[str, str], Traffic]:
        """By row and contender: each has tokens of its own kind."""
        return {
            (row, contender.name): traffic
            for contender in running
            for row, traffic in self.rows(contender).items()
        }

    def rows(self, contender: Contender) -> dict[str, Traffic]:
        """By row. Reads come from everybody, and one in a hundred requests changes what they show.

        Without an admin among the callers, who may change any project, a new one is posted instead.
        """
        callers = contender.callers
        post = Ask("POST", f"{BASE}/projects", callers.clients, self._projects)
        change = Ask("PATCH", f"{BASE}/projects/{{id}}", callers.admins, self._descriptions)
        rename = Ask("PATCH", f"{BASE}/users/me", callers.everybody, self._headlines)
        project = Ask("GET", f"{BASE}/projects/{{id}}", callers.everybody)
        # The plain application's cursors are ids; a list of one page has none.
        cursors = self.ids if contender.name == contenders.PLAIN else self._cursors
        pages = f"{BASE}/projects?cursor={{id}}" if cursors else f"{BASE}/projects"
        page = Ask("GET", pages, callers.everybody, headers=UNCACHED)
        return {
            "list-users": Traffic(Ask("GET", f"{BASE}/users", callers.everybody), self.ids, rename),
            "get-project": Traffic(project, self.ids, change if callers.admins else post),
            "get-project-uncached": Traffic(
                msgspec.structs.replace(project, headers=UNCACHED),
                self.ids,
                change if callers.admins else post,
            ),
            "list-projects-uncached": Traffic(page, cursors or self.ids, post),
            "create-project": Traffic(post, self.ids),
        }

    def try_out(self, contender: Contender) -> dict[str, bytes]:
        """Ask a contender everything once, and give what it answered to the usual asks by row.

        Raises:
            SetupError: it refuses something, so that its figures would mean nothing.
        """
        answers = {}
        for row, traffic in self.rows(contender).items():
            usual = answer(contender.target, traffic.usual, traffic.ids[0])
            if traffic.write is not None:
                answer(contender.target, traffic.write, self.ids[0])
            answers[row] = usual
        return answers


@contextmanager
def _all(
    place: Place, asks: Asks, options: Options, say: Callable[[str], None]
) -> Iterator[list[Contender]]:
    """The product and its yardsticks, all answering."""
    answers = asks.try_out(place.product)
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="mercenary-bench-")))
        running = [place.product]
        bodies = {
            bare_asgi.LIST: answers["list-users"],
            bare_asgi.PROJECTS: answers["list-projects-uncached"],
            bare_asgi.ONE: answers["get-project"],
            bare_asgi.WRITTEN: answers["create-project"],
        }
        running.append(exits.enter_context(contenders.bare(place, bodies, folder, options.workers)))
        if place.database_uri is None:
            say(
                f"Leaving {contenders.PLAIN} out: it needs the stack's database, "
                "so set SQLALCHEMY_DATABASE_URI to it"
            )
        else:
            running.append(
                exits.enter_context(
                    contenders.plain(place, place.database_uri, folder, options.workers)
                )
            )
        for contender in running[1:]:
            asks.try_out(contender)
        yield running


def _run(bench: Bench, run: int) -> Iterator[Measurement]:
    for row in FLOORS:
        for contender in bench.contenders:
            measurement = bench.course.measure(
                contender, bench.traffic[row, contender.name], row, run
            )
            bench.say(rates.line_of(measurement, bench.options.runs))
            yield measurement


def _running(options: Options) -> Place:
    """The stack that runs at the given address."""
    if options.url is None or options.tokens is None:
        raise SetupError("--url needs --tokens FILE; `mercenary token --count 10000 --out FILE`")
    target = target_of(options.url)
    tokens = contenders.read_tokens(options.tokens)
    pid = listener(target.port) if _is_loopback(target.host) else None
    product = Contender(PRODUCT, target, Callers.of(tokens), pid, None)
    uri = load_settings().settings.sqlalchemy_database_uri
    return Place(product, tokens, uri, {})


def target_of(url: str) -> Target:
    """The server that a URL names.

    Raises:
        SetupError: it isn't a URL of HTTP.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SetupError(f"--url {url} is no address: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SetupError(f"--url {url} is no address; give one such as http://127.0.0.1:8000")
    tls = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _detail(
    bench: Bench, place: Place, market: Marketplace, measurements: Sequence[Measurement]
) -> dict[str, object]:
    options = bench.options
    return {
        "scale": options.scale if options.url is None else None,
        "projects": len(market.projects),
        "callers": len(place.product.callers.everybody),
        "exponent": options.exponent,
        "write_share": WRITE_SHARE,
        "workers": options.workers,
        "connections": options.connections,
        "seconds": options.seconds,
        "generator": bench.course.generator.name,
        "threads": bench.course.generator.threads,
        "measurements": msgspec.to_builtins(measurements),
    }
