"""Errors as RFC 9457 problems, and the pages that their types open as."""

import html
from collections.abc import Iterable

import msgspec

from mercenary.errors import PROBLEMS, Fault, ProblemError

MEDIA_TYPE = "application/problem+json"
TYPE_PATH = "/problems/"


class Problem(msgspec.Struct, omit_defaults=True):
    """What an error looks like on the wire."""

    type: str
    title: str
    status: int
    instance: str
    detail: str | None = None
    errors: tuple[Fault, ...] | None = None


_encoder = msgspec.json.Encoder()


def problem_body(error: ProblemError, request_id: str) -> bytes:
    """The JSON of a problem."""
    problem = Problem(
        TYPE_PATH + error.slug,
        error.title,
        error.status,
        request_id,
        error.detail,
        error.faults or None,
    )
    return _encoder.encode(problem)


def problem_page(slug: str) -> str | None:
    """A page for people about one type of problem; None where there is no such type."""
    known = {problem.slug: problem for problem in PROBLEMS}
    problem = known.get(slug)
    if problem is None:
        return None
    others = "".join(_link(other) for other in known.values() if other is not problem)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(problem.title)}</title>"
        f"<h1>{html.escape(problem.title)}</h1>"
        f"<p>Status {problem.status}. {html.escape(_about(problem))}</p>"
        f"<h2>Other problems</h2><ul>{others}</ul></html>"
    )


def statuses(problems: Iterable[type[ProblemError]]) -> dict[int, list[type[ProblemError]]]:
    """Problems grouped by status, lowest first."""
    groups: dict[int, list[type[ProblemError]]] = {}
    for problem in sorted(set(problems), key=lambda problem: (problem.status, problem.slug)):
        groups.setdefault(problem.status, []).append(problem)
    return groups


def _about(problem: type[ProblemError]) -> str:
    return " ".join((problem.__doc__ or "").split())


def _link(problem: type[ProblemError]) -> str:
    return f'<li><a href="{TYPE_PATH}{problem.slug}">{html.escape(problem.title)}</a>'
