"""`mercenary db explain`: what the database does for a request or a statement, step by step."""

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.tree import Tree
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from mercenary.cli.db.showing import as_json_option, ask, show
from mercenary.cli.failures import CommandError
from mercenary.db.plans import Advice, Node, Plan, advise, explain
from mercenary.local.state import effective
from mercenary.ops.statements import Sent, statements_of
from mercenary.settings import load

FAR_OFF: Final = 10
"""An estimate that is wrong by more than this factor is pointed out."""


class Explained(msgspec.Struct, frozen=True):
    """A statement, its plan, and what index might help."""

    statement: str
    plan: Plan
    advice: Sequence[Advice]


@click.command()
@click.argument("what")
@click.option("--token", help="An access token, to ask as somebody signed in.")
@as_json_option
def command(what: str, token: str | None, as_json: bool) -> None:
    """Execute WHAT and show how: a path such as '/api/v1/projects?status=open', or a statement.

    A path is answered here, past the cache, and each statement it sends is executed once more.
    All of it is rolled back; what a statement takes from a sequence is gone. Where much is read in
    vain, an index that might help is made on a small table, tried, and rolled back, too.
    """
    if what.startswith(("/", "http://", "https://")):
        sent = [(each.text, each.parameters) for each in _sent(what, token)]
    else:
        sent = [(what, ())]

    async def explained(db: AsyncConnection) -> list[Explained]:
        found = []
        for statement, parameters in sent:
            plan = await explain(db, statement, parameters)
            found.append(Explained(statement, plan, await advise(db, statement, parameters, plan)))
        return found

    try:
        found = ask(explained)
    except DBAPIError as error:
        raise CommandError(f"PostgreSQL doesn't take that: {error.orig}") from error
    show(found, _pictures, as_json=as_json)


def _sent(url: str, token: str | None) -> Sequence[Sent]:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    answered = asyncio.run(statements_of(effective(load()), target, token))
    if answered.status >= 400:
        raise CommandError(f"the answer to {target} is {answered.status}; see what it says by curl")
    if not answered.statements:
        raise CommandError(f"{target} asks the database nothing")
    return answered.statements


def _pictures(found: Sequence[Explained]) -> RenderableType:
    return Group(*(_picture(each) for each in found))


def _picture(explained: Explained) -> RenderableType:
    plan = explained.plan
    tree = Tree(f"[bold]{escape(' '.join(explained.statement.split()))[:500]}")
    branch = tree.add(
        f"planned in {plan.planning_ms:.2f} ms, executed in {plan.execution_ms:.2f} ms"
    )
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
    marked = "[red]" if node is plan.costliest else ""
    on = f" on {node.on}" if node.on else ""
    line = f"{marked}{node.kind}{escape(on)}{'[/]' if marked else ''}"
    line += f"  {node.self_ms:.3f} ms ({share:.0%}), {node.rows:,.0f} rows"
    if node.loops != 1:
        line += f" in {node.loops:,} loops"
    least, most = sorted((max(1.0, node.rows), max(1.0, node.estimated)))
    if most > FAR_OFF * least:
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
