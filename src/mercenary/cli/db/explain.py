"""`mercenary db explain`: what the database does for a request or a query, step by step."""

import asyncio
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.tree import Tree
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.catalogue import QUERIES
from mercenary.cli.db.showing import as_json_option, ask, show, table_of
from mercenary.cli.failures import CommandError
from mercenary.db.advice import Advice, advise
from mercenary.db.examples import examples
from mercenary.db.plans import Node, Plan, explain, foresee
from mercenary.db.sending import Sent, sent
from mercenary.db.topology import is_sharded
from mercenary.local.state import effective
from mercenary.ops.statements import statements_of
from mercenary.settings import load

FAR_OFF: Final = 10
"""An estimate that is wrong by more than this factor is pointed out."""
FORMS_SHOWN: Final = 3
_NAME: Final = re.compile(r"(?P<name>[a-z_]+\.[a-z_]+)(?::(?P<form>\S+))?")
UNPLANNED: Final = re.compile(r"\s*(REFRESH|VACUUM|SET)\b")
"""Statements that PostgreSQL has no plan for."""


class Explained(msgspec.Struct, frozen=True):
    """A statement, its plan, and what index might help; why it wasn't executed where it wasn't."""

    statement: str
    plan: Plan
    advice: Sequence[Advice]
    unexecuted: str | None = None


class Known(msgspec.Struct, frozen=True):
    """A query's name, and what tells its forms from each other."""

    name: str
    forms: Sequence[str]


@click.command()
@click.argument("what", required=False)
@click.option("--token", help="An access token, to ask as somebody signed in.")
@click.option("--generic", is_flag=True, help="The plan for any values, not for those at hand.")
@as_json_option
def command(what: str | None, token: str | None, generic: bool, as_json: bool) -> None:
    """Execute WHAT and show how; without it, list the queries by name.

    WHAT is a path such as '/api/v1/projects?status=open', a statement, or a query's NAME, or
    NAME:FORM where it has several. A path is answered here, past the cache, and each statement it
    sends is executed once more; a named query gets parameters from the database. All of it is
    rolled back; what a statement takes from a sequence is gone. Where much is read or sorted in
    vain, an index that might help is made on a small table, tried, and rolled back, too.
    """
    if what is None:
        show(ask(list_queries), _list, as_json=as_json)
        return
    if what.startswith(("/", "http://", "https://")):
        answered = _sent(what, token)

    async def explained(db: AsyncConnection) -> list[Explained]:
        if _NAME.fullmatch(what):
            sent = [await _example(db, what)]
        elif what.startswith(("/", "http")):
            sent = list(answered)
        else:
            sent = [Sent(what, ())]
        return [await _explained(db, each, generic=generic) for each in sent]

    try:
        found = ask(explained)
    except DBAPIError as error:
        raise CommandError(f"PostgreSQL doesn't take that: {error.orig}") from error
    show(found, _pictures, as_json=as_json)


async def list_queries(db: AsyncConnection) -> list[Known]:
    """All queries in the forms that this database is asked."""
    sharded = is_sharded(db)
    return [Known(name, list(each.forms(sharded=sharded))) for name, each in QUERIES.items()]


async def _example(db: AsyncConnection, what: str) -> Sent:
    """A query's form with parameters from the database."""
    name, _, form = what.partition(":")
    if name not in QUERIES:
        like = get_close_matches(name, QUERIES, n=3, cutoff=0.5)
        hint = f"; is it {' or '.join(like)}?" if like else ", they are listed without a name"
        raise CommandError(f"there is no query {name}{hint}")
    forms = QUERIES[name].forms(sharded=is_sharded(db))
    if form and form not in forms:
        raise CommandError(f"{name} has no form {form}; it has {', '.join(forms)}")
    statement = forms[form] if form in forms else next(iter(forms.values()))
    if UNPLANNED.match(str(statement)):
        raise CommandError(f"PostgreSQL has no plan for {statement}")
    parameters = await examples(db, statement)
    await db.rollback()
    return sent(statement, parameters)


async def _explained(db: AsyncConnection, each: Sent, *, generic: bool) -> Explained:
    text, parameters = each
    if generic and not parameters:
        return Explained(text, await foresee(db, text, generic=True), [])
    try:
        plan = await explain(db, text, parameters, generic=generic)
    except IntegrityError as error:  # a made-up row that the constraints refuse
        plan = await foresee(db, text, parameters, generic=generic)
        return Explained(text, plan, [], str(error.orig).partition("\n")[0])
    return Explained(text, plan, await advise(db, text, parameters, plan))


def _sent(url: str, token: str | None) -> Sequence[Sent]:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    answered = asyncio.run(statements_of(effective(load()), target, token))
    if answered.status >= 400:
        raise CommandError(f"the answer to {target} is {answered.status}; see what it says by curl")
    if not answered.statements:
        raise CommandError(f"{target} asks the database nothing")
    return answered.statements


def _list(found: Sequence[Known]) -> RenderableType:
    rows = []
    for each in found:
        shown = " ".join(each.forms[:FORMS_SHOWN])
        more = len(each.forms) - FORMS_SHOWN
        rows.append((each.name, escape(shown + (f" and {more} more" if more > 0 else ""))))
    return table_of("explain NAME, or NAME:FORM", ("name", "forms"), rows)


def _pictures(found: Sequence[Explained]) -> RenderableType:
    return Group(*(_picture(each) for each in found))


def _picture(explained: Explained) -> RenderableType:
    plan = explained.plan
    tree = Tree(f"[bold]{escape(' '.join(explained.statement.split()))[:500]}")
    told = f"planned in {plan.planning_ms:.2f} ms, "
    if plan.execution_ms is None:
        told += f"not executed: {explained.unexecuted or 'it has no values'}"
    else:
        told += f"executed in {plan.execution_ms:.2f} ms"
    branch = tree.add(escape(told))
    _grow(branch, plan.root, plan)
    for each in explained.advice:
        tried = (
            f"not tried: {each.untried}"
            if each.after_ms is None
            else f"tried: {each.before_ms:.2f} ms without it, {each.after_ms:.2f} ms with it"
        )
        tree.add(f"[yellow]{escape(each.reason)}. Perhaps {escape(each.index)} ({tried})")
    return tree


def _grow(branch: Tree, node: Node, plan: Plan) -> None:
    share = node.self_ms / plan.execution_ms if plan.execution_ms else 0.0
    marked = "[red]" if plan.execution_ms is not None and node is plan.costliest else ""
    on = f" on {node.on}" if node.on else ""
    line = f"{marked}{node.kind}{escape(on)}{'[/]' if marked else ''}"
    if plan.execution_ms is None:
        line += f"  taken to be {node.estimated:,.0f} rows"
    else:
        line += f"  {node.self_ms:.3f} ms ({share:.0%}), {node.rows:,.0f} rows"
    if plan.execution_ms is not None and node.loops != 1:
        line += f" in {node.loops:,} loops"
    least, most = sorted((max(1.0, node.rows), max(1.0, node.estimated)))
    if plan.execution_ms is not None and most > FAR_OFF * least:
        line += f", [yellow]taken to be {node.estimated:,.0f}[/]"
    if node.removed:
        line += f", {node.removed:,.0f} read in vain"
    if node.hit or node.read:
        line += f"  [dim]blocks: {node.hit:,} in memory, {node.read:,} not[/]"
    if node.spilled:
        line += f"  [yellow]{node.spilled:,} blocks spilled[/]"
    for name, told in node.details.items():
        line += f"\n[dim]{name}: {escape(told[:300])}[/]"
    below = branch.add(line)
    for each in node.below:
        _grow(below, each, plan)
