"""From a path to its endpoint: one look-up a segment, whatever the number of routes.

Starlette's router tries each route's pattern in turn, which costs about 1 µs a route on the way
(`docs/decisions/` has the figures); with some thirty routes that was the largest single cost of a
request that the database answers in 9 µs.
"""

from collections.abc import Iterable
from typing import Any

from mercenary.errors import MethodNotAllowed, NotFound
from mercenary.http.endpoint import Endpoint
from mercenary.http.invocation import Invocation
from mercenary.http.shared_caching import NOT_KEPT, Lifetime

_ANY = ""  # stands for a path parameter; no segment of a template is empty


class Router:
    """All endpoints of the application, ready to be called."""

    def __init__(
        self, endpoints: Iterable[Endpoint], max_depth: int, lifetime: Lifetime = NOT_KEPT
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._tree: dict[str, Any] = {}
        for endpoint in self.endpoints:
            self._add(Invocation(endpoint, max_depth, lifetime))

    def resolve(self, method: str, path: str) -> tuple[Invocation, list[str]]:
        """The endpoint of a request and the raw values of its path's parameters.

        Raises:
            NotFound: no endpoint has such a path.
            MethodNotAllowed: some have, with other methods.
        """
        methods, values = self._at(path)
        invocation = methods.get("GET" if method == "HEAD" else method)
        if invocation is None:
            raise MethodNotAllowed(_offered(methods))
        return invocation, values

    def methods(self, path: str) -> list[str]:
        """The methods that a path answers, OPTIONS included.

        Raises:
            NotFound: no endpoint has such a path.
        """
        methods, _ = self._at(path)
        return _offered(methods)

    def _at(self, path: str) -> tuple[dict[str, Invocation], list[str]]:
        node = self._tree
        values: list[str] = []
        for segment in path[1:].split("/"):
            branch = node.get(segment) if segment else None
            if branch is None:
                branch = node.get(_ANY)
                if branch is None or not segment:
                    raise NotFound
                values.append(segment)
            node = branch
        methods: dict[str, Invocation] | None = node.get("/")
        if methods is None:
            raise NotFound
        return methods, values

    def _add(self, invocation: Invocation) -> None:
        node = self._tree
        for segment in invocation.endpoint.route[1:].split("/"):
            node = node.setdefault(_ANY if segment.startswith("{") else segment, {})
        methods = node.setdefault("/", {})  # a segment never holds a slash
        method = invocation.endpoint.method
        if method in methods:
            raise ValueError(f"{method} {invocation.endpoint.route} is declared twice")
        methods[method] = invocation


def _offered(methods: dict[str, Invocation]) -> list[str]:
    implied = ["HEAD", "OPTIONS"] if "GET" in methods else ["OPTIONS"]
    return sorted([*methods, *implied])
