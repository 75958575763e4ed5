"""`mercenary db locks`: who waits for whom."""

import sys
from collections import defaultdict
from collections.abc import Sequence

import click
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.tree import Tree

from mercenary.cli.db.showing import as_json_option, ask, show
from mercenary.cli.spans import short
from mercenary.db.inspection.activity import Locks, Session, locks

PREPARED = "a prepared transaction: `mercenary db long --over 0` tells which, and how to end it"


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show who waits for a lock, below whom they wait for, and how to end it.

    Exit code 0 when nobody waits, 1 when anybody does, 2 when the database can't be asked.
    """
    found = ask(locks)
    show(found, _picture, as_json=as_json)
    sys.exit(1 if found.sessions else 0)


def _picture(found: Locks) -> RenderableType:
    shown = [_tree(found.sessions) if found.sessions else "Nobody waits for a lock."]
    if found.role.hint:
        shown.append(found.role.hint)
    return Group(*shown)


def _tree(sessions: Sequence[Session]) -> RenderableType:
    tree = Tree("Who is waited for, and who waits")
    waiting: defaultdict[int, list[Session]] = defaultdict(list)
    for session in sessions:
        for pid in session.blocked_by:
            waiting[pid].append(session)
    known = {session.pid for session in sessions}
    for pid in sorted(set(waiting) - known):
        _hang(tree.add(f"[red]{pid or PREPARED}"), pid, waiting, frozenset({pid}))
    for session in sessions:
        if not session.blocked_by:
            _hang(tree.add(_line(session)), session.pid, waiting, frozenset({session.pid}))
    if not tree.children:  # a deadlock, which PostgreSQL ends within deadlock_timeout
        for session in sessions:
            tree.add(_line(session))
    return tree


def _hang(branch: Tree, pid: int, waiting: dict[int, list[Session]], above: frozenset[int]) -> None:
    """Put those who wait for `pid` below it; `above` are the ones on the way here."""
    for session in waiting.get(pid, ()):
        if session.pid not in above:
            below = branch.add(_line(session))
            _hang(below, session.pid, waiting, above | {session.pid})


def _line(session: Session) -> str:
    wants = f" wants {session.wants} on {session.on}" if session.wants else ""
    color = "yellow" if session.blocked_by else "red"
    line = (
        f"[{color}]{session.pid}[/] {escape(session.application or '(unnamed)')} "
        f"({session.state or 'hidden'}), transaction open for "
        f"{short(session.transaction_seconds)}{wants}\n[dim]{escape(session.statement)}[/]"
    )
    return f"{line}\nto end it: {session.remedy}" if session.remedy else line
