"""Readers: they look at the same few things in every way that the contract offers."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from tests.coherence.cast import Cast
from tests.coherence.client import Client, Session, as_public, project_state, user_state
from tests.coherence.history import Filters, ListRead, Promise, Read, Shown, State

CODINGS: Final = ("", "", "gzip", "br", "zstd", "identity", "gzip;q=0.5, br")
FIELDS: Final = {
    "project": ("", "", "id,title,version", "status,title"),
    "user": ("", "headline,skills"),
    "skill": ("",),
}
PUBLIC: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "skill": {},
    "project": {"status": ("open", "in_progress", "completed", "cancelled")},
    "user": {"gone": (False,)},
}
_TAG: Final = re.compile(r'"(\d+)-(\d+)(?:-[^"]*)?"')
_TAGS: Final = 4  # of a URL, which a reader remembers
_NEVER: Final = "9999"
_RECONNECT: Final = 0.02
# What a reader looks at, and how often.
_LOOKS: Final = {
    "hot": 50, "cold": 8, "recent": 8, "user": 9, "unborn": 2, "draft": 2, "own": 4, "skill": 2,
    "list": 18,
}  # fmt: skip


class Reader:
    """One reader on one host."""

    def __init__(self, client: Client, cast: Cast) -> None:
        self.client = client
        self.cast = cast
        self.chance = client.chance
        # By URL: tags that were given, and what pages of lists they stand for.
        self._tags: dict[str, dict[str, Mapping[str, Any]]] = {}

    async def run(self, rate: float) -> None:
        """Look `rate` times a second on average, until all is over."""
        while not self.cast.is_over:
            await asyncio.sleep(self.chance.expovariate(rate))
            await self.look()

    async def look(self) -> None:
        """One look at something, by somebody, in some way."""
        if self.chance.random() < _RECONNECT:
            self.client.close()
        cast, chance = self.cast, self.chance
        session = self._somebody()
        what = chance.choices(list(_LOOKS), weights=list(_LOOKS.values()))[0]
        if what == "list":
            await self.look_at_list(session)
        elif what == "own":
            await self.look_at_own()
        elif what == "user":
            person = chance.choice(cast.owners + cast.freelancers)
            await self.look_at("user", person.user_id, session)
        elif what == "skill":
            await self.look_at("skill", chance.choice(cast.skills), session)
        else:
            ids = {
                "hot": cast.hot,
                "cold": cast.cold,
                "recent": cast.recent[-8:],
                "unborn": [cast.newest + 1, cast.newest + 2],
                "draft": cast.drafts[-3:],
            }[what]
            await self.look_at("project", chance.choice(ids or cast.hot), session)

    def _somebody(self) -> Session | None:
        cast = self.cast
        draw = self.chance.random()
        if draw < 0.55:
            return None
        if draw < 0.85:
            return self.chance.choice(cast.freelancers)
        if draw < 0.96:
            return self.chance.choice(cast.owners)
        return cast.admin

    async def look_at(
        self, kind: str, id: int, session: Session | None, *, plainly: bool = False
    ) -> None:
        """A look at one thing; `plainly` is the way that most callers take."""
        fields = "" if plainly else self.chance.choice(FIELDS[kind])
        path = f"/{kind}s/{id}" + (f"?fields={fields}" if fields else "")
        method = "HEAD" if not plainly and self.chance.random() < 0.12 else "GET"
        headers, promise = self._manner(path, "entity", plainly=plainly)
        answer = await self.client.ask(method, path, session, headers=headers, promise="entity")
        if not answer.is_telling or answer.status == 401:
            return
        shown = None
        if answer.status != 404:
            state = _state(kind, answer.json(), session) if answer.body else {}
            shown = Shown(_version_in(answer.tag), state)
            self._remember(path, answer.tag, {})
        note = headers.get("Cache-Control", "")
        self.client.log.tally["reads"] += 1
        self.client.log.history.reads.append(
            Read(
                act=self.client.act(answer, method, path, session, note),
                promise=promise,
                key=f"{kind}:{id}",
                shown=shown,
                filters={} if self._sees_all(kind, id, session) else PUBLIC[kind],
            )
        )

    async def look_at_list(self, session: Session | None) -> None:
        """A look at a page of some list. Owners find their drafts there, and admins everybody's."""
        path, filters = self._some_list()
        owner = filters.get("client_id", (0,))[0]
        if session is not None and (session.role == "admin" or session.user_id == owner):
            hidden = PUBLIC["project"] | PUBLIC["user"]
            filters = {name: some for name, some in filters.items() if hidden.get(name) != some}
        place = self.client.url(path, session)
        if session is not None and session.user_id == owner:
            place += " of the owner"
        headers, promise = self._manner(place, "list")
        answer = await self.client.ask("GET", path, session, headers=headers, promise="entity")
        if not answer.is_telling or answer.status == 401:
            return
        page = answer.json() if answer.status == 200 else self._tags[place][answer.tag]
        self._remember(place, answer.tag, page)
        kind = path[1:].partition("?")[0].rstrip("s")
        items = page["items"]
        self.client.log.tally["lists"] += 1
        act = self.client.act(answer, "GET", path, session, headers.get("Cache-Control", ""))
        self.client.log.history.lists.append(
            ListRead(
                act=replace(act, url=place),
                promise=promise,
                kind=kind,
                items={
                    f"{kind}:{item['id']}": Shown(item["version"], _state(kind, item, session))
                    for item in items
                },
                filters=filters,
                oldest=_oldest(kind, page),
                counts=tuple(_counts(page, filters)),
            )
        )

    async def look_at_own(self) -> None:
        """A look at what is one's own: never kept by anybody, so never old."""
        cast = self.cast
        if cast.proposals and self.chance.random() < 0.5:
            id, session = self.chance.choice(cast.proposals[-12:])
            path, key, convert = f"/proposals/{id}", f"proposal:{id}", project_state
        else:
            session = self.chance.choice(cast.owners + cast.freelancers)
            path, key, convert = "/users/me", f"user:{session.user_id}", as_public
        answer = await self.client.ask("GET", path, session)
        if answer.status == 200:
            body = answer.json()
            self.client.log.tally["reads"] += 1
            self.client.log.history.reads.append(
                Read(
                    act=self.client.act(answer, "GET", path, session),
                    promise="database",
                    key=key,
                    shown=Shown(body["version"], convert(body)),
                )
            )

    def _some_list(self) -> tuple[str, Filters]:
        owner = self.chance.choice(self.cast.owners).user_id
        public = PUBLIC["project"]
        return self.chance.choice(
            [
                (f"/projects?client_id={owner}&limit=100", public | {"client_id": (owner,)}),
                (
                    f"/projects?client_id={owner}&status=open&limit=100&fields=id,version,created_at",
                    {"client_id": (owner,), "status": ("open",)},
                ),
                (
                    f"/projects?client_id={owner}&limit=1&include=total,facets",
                    public | {"client_id": (owner,)},
                ),
                ("/projects", public),
                ("/projects?status=in_progress&limit=50", {"status": ("in_progress",)}),
                (f"/skills?q={self.cast.prefix}&limit=100", PUBLIC["skill"]),
                ("/users?limit=50", PUBLIC["user"]),
                ("/users?role=client&limit=20", PUBLIC["user"] | {"role": ("client",)}),
            ]
        )

    def _manner(
        self, path: str, promise: Promise, *, plainly: bool = False
    ) -> tuple[dict[str, str], Promise]:
        """In what coding, on which condition, and whether the database itself is to answer."""
        headers: dict[str, str] = {}
        if coding := self.chance.choice(CODINGS):
            headers["Accept-Encoding"] = coding
        if plainly:
            return headers, promise
        tags = list(self._tags.get(path, ()))
        if tags and self.chance.random() < 0.4:
            headers["If-None-Match"] = ", ".join(tags)
        if self.chance.random() < 0.08:
            headers["Cache-Control"] = "no-cache"
            promise = "database"
        return headers, promise

    def _remember(self, path: str, tag: str, page: Mapping[str, Any]) -> None:
        tags = self._tags.setdefault(path, {})
        tags.pop(tag, None)
        tags[tag] = page
        if len(tags) > _TAGS:
            del tags[next(iter(tags))]

    def _sees_all(self, kind: str, id: int, session: Session | None) -> bool:
        """Whether this caller is shown what guests aren't."""
        if session is None:
            return False
        owner = self.cast.owner_of.get(id) if kind == "project" else None
        return session.role == "admin" or (owner is not None and owner.user_id == session.user_id)


def _counts(page: Mapping[str, Any], filters: Filters) -> Iterator[tuple[Filters, int]]:
    """The total, and how many projects there are of each status."""
    if "total" in page:
        yield filters, page["total"]
        counted = {each["value"]: each["count"] for each in page["facets"]["status"]}
        for status in PUBLIC["project"]["status"]:
            yield {**filters, "status": (status,)}, counted.get(status, 0)


def _state(kind: str, body: Mapping[str, Any], session: Session | None) -> State:
    if kind != "user":
        return project_state(body)
    if session is not None and session.role == "admin":
        # Who are also shown everybody's address, and who has left.
        return {**as_public(body), "gone": body.get("is_active") is False}
    return user_state(body)


def _oldest(kind: str, page: Mapping[str, Any]) -> str | None:
    """Since when nothing can be missing from a page that more follow."""
    if not page["next_cursor"]:
        return None
    return _NEVER if kind == "skill" else str(page["items"][-1]["created_at"])  # not by time


def _version_in(tag: str) -> int:
    found = _TAG.fullmatch(tag)
    if found is None:
        raise AssertionError(f"{tag!r} names no version")
    return int(found[2])
