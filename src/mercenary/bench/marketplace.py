"""The marketplace under load, seen through its own API: whom to play and what to ask about."""

import base64
import binascii
import http.client
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from mercenary.bench.traffic import Ask, Target
from mercenary.settings import SetupError

BASE: Final = "/api/v1"
# Walking a list costs a request for every 100 rows, and more rows change no figure.
MAX_PROJECTS: Final = 250_000
_PAGE: Final = 100
_SECONDS: Final = 30.0
_BODIES: Final = 1_000
_WORDS: Final = (
    *("analytics", "android", "audit", "billing", "booking", "brand", "campaign", "catalogue"),
    *("checkout", "cloud", "copy", "dashboard", "data", "design", "edit", "export", "forum"),
    *("game", "guide", "illustration", "import", "invoice", "kitchen", "label", "landing", "legal"),
    *("logo", "map", "menu", "migration", "mobile", "newsletter", "office", "page", "payment"),
    *("photo", "plan", "podcast", "portal", "print", "report", "research", "search", "server"),
    *("shop", "song", "store", "survey", "theme", "ticket", "tour", "translation", "video"),
)


class Claims(msgspec.Struct, frozen=True):
    """Whom a token names; what matters of it here."""

    sub: str
    role: str


@dataclass(frozen=True)
class Callers:
    """Access tokens by what their owners may do. Admins aren't among those who play everybody."""

    everybody: Sequence[str]
    clients: Sequence[str]
    admins: Sequence[str]

    @classmethod
    def of(cls, tokens: Mapping[str, Claims]) -> "Callers":
        """Sort tokens by role.

        Raises:
            SetupError: there is no client among them, and only clients post projects.
        """
        clients = [token for token, claims in tokens.items() if claims.role == "client"]
        admins = [token for token, claims in tokens.items() if claims.role == "admin"]
        if not clients:
            raise SetupError("none of the tokens is a client's, and only clients post projects")
        everybody = [token for token, claims in tokens.items() if claims.role != "admin"]
        return cls(everybody, clients, admins)


@dataclass(frozen=True)
class Marketplace:
    """What there is to ask about: projects that everybody may see, and skills.

    `cursors` are places in the list of projects, as the API gives them.
    """

    projects: Sequence[int]
    skills: Sequence[int]
    cursors: Sequence[str]


class _Named(msgspec.Struct):
    id: int


class _Page(msgspec.Struct):
    items: list[_Named]
    next_cursor: str | None


def claims_of(token: str) -> Claims:
    """Read a token's claims. Whether it is genuine, the server decides.

    Raises:
        SetupError: it isn't a token at all.
    """
    try:
        payload = token.split(".")[1]
        decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return msgspec.json.decode(decoded, type=Claims)
    except (IndexError, binascii.Error, msgspec.MsgspecError) as error:
        raise SetupError(
            "the tokens' file holds a line that is no access token; "
            "make one by `mercenary token --count 10000 --out FILE`"
        ) from error


def explore(target: Target, tokens: Sequence[str]) -> Marketplace:
    """Walk the public lists, as the first of the callers: a guest may take fewer pages.

    Raises:
        SetupError: the API doesn't answer as it should, or has nothing to ask about.
    """
    pages = list(_walk(target, tokens, "/projects", MAX_PROJECTS))
    projects = [project.id for page in pages for project in page.items]
    skills = [skill.id for page in _walk(target, tokens, "/skills", 1_000) for skill in page.items]
    if not projects or not skills:
        raise SetupError(
            f"{target.url} has no projects or no skills to ask about; `mercenary seed` fills it"
        )
    cursors = [quote(page.next_cursor, safe="") for page in pages if page.next_cursor is not None]
    return Marketplace(projects, skills, cursors)


def answer(target: Target, ask: Ask, id: int | str) -> bytes:
    """Ask once, as the first of the callers, and give the answer's body.

    Raises:
        SetupError: nobody answers, or not with a 2xx.
    """
    with closing(_connection(target)) as connection:
        return _answer(connection, target, ask, id)


def project_bodies(skills: Sequence[int], count: int = _BODIES) -> list[str]:
    """New projects as clients would post them, each with one to five skills, as JSON."""
    source = random.Random(2)  # noqa: S311 - a workload, no secret
    return [
        _json(
            title=_words(source, 6).capitalize(),
            description=f"{_words(source, source.randint(20, 120)).capitalize()}.",
            budget=f"{source.randint(100, 20_000)}.00",
            currency=source.choice(["USD", "EUR", "GBP"]),
            status="open",
            skill_ids=sorted(source.sample(skills, min(len(skills), source.randint(1, 5)))),
        )
        for _ in range(count)
    ]


def description_bodies(count: int = _BODIES) -> list[str]:
    """Changes of a project's description, as JSON."""
    source = random.Random(3)  # noqa: S311 - a workload, no secret
    return [_json(description=f"{_words(source, 60).capitalize()}.") for _ in range(count)]


def headline_bodies(count: int = _BODIES) -> list[str]:
    """Changes of one's own headline, as JSON."""
    source = random.Random(4)  # noqa: S311 - a workload, no secret
    return [_json(headline=_words(source, 8).capitalize()) for _ in range(count)]


def searches() -> list[str]:
    """What people search for: each of these words is in a few hundredths of the projects."""
    return list(_WORDS)


def _walk(target: Target, tokens: Sequence[str], path: str, most: int) -> Iterator[_Page]:
    parameters: dict[str, str | int] = {"limit": _PAGE}
    found = 0
    with closing(_connection(target)) as connection:
        while found < most:
            ask = Ask("GET", f"{BASE}{path}?{urlencode(parameters)}", tokens)
            try:
                page = msgspec.json.decode(_answer(connection, target, ask, 0), type=_Page)
            except msgspec.MsgspecError as error:
                raise SetupError(f"{target.url} answers {path} in another form: {error}") from error
            yield page
            found += len(page.items)
            if page.next_cursor is None:
                return
            parameters["cursor"] = page.next_cursor


def _connection(target: Target) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    return kind(target.host, target.port, timeout=_SECONDS)


def _answer(
    connection: http.client.HTTPConnection, target: Target, ask: Ask, id: int | str
) -> bytes:
    path = target.prefix + ask.path.replace("{id}", str(id))
    headers = dict(line.split(": ", 1) for line in ask.headers)
    if ask.bodies:
        headers["Content-Type"] = "application/json"
    if ask.tokens:
        headers["Authorization"] = f"Bearer {ask.tokens[0]}"
    body = ask.bodies[0].encode() if ask.bodies else None
    try:
        connection.request(ask.method, path, body, headers)
        response = connection.getresponse()
        received = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise SetupError(f"{target.url} doesn't answer ({error}); is it running?") from error
    if not 200 <= response.status <= 299:
        said = received[:200].decode(errors="replace")
        raise SetupError(
            f"{target.url} answers {ask.method} {path} by {response.status}, "
            f"so there is nothing to measure: {said}"
        )
    return received


def _words(source: random.Random, count: int) -> str:
    return " ".join(source.choices(_WORDS, k=count))


def _json(**fields: object) -> str:
    return msgspec.json.encode(fields).decode()
