"""`mercenary db replicas`: who follows the primary, and how far they are."""

import re
import sys
from collections.abc import Iterator

import click
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.cli.spans import short
from mercenary.db.inspection.replication import Follower, Following, Replication, replication


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show the primary, its replicas, how far behind they are, and the slots that keep its log.

    Exit code 1 when a slot's replica is away or has lost the log, or fewer replicas are there than
    commits wait for.
    """
    found = ask(replication)
    show(found, _picture, as_json=as_json)
    sys.exit(1 if any(_faults(found)) else 0)


def _faults(found: Replication) -> Iterator[str]:
    """What is wrong, in words."""
    there = sum(follower.counts for follower in found.followers)
    if there < (wanted := _awaited(found.quorum)) and found.following is None:
        yield f"commits wait: {there} of the {wanted} replicas that must hold them are there"
    for slot in found.slots:
        if slot.state == "lost":
            yield f"{slot.name} has lost the log: its replica must be copied anew"
        elif not slot.active:
            kept = bytes_text(slot.kept_bytes or 0)
            yield f"nobody reads from {slot.name}, for which {kept} of log are kept"
    if found.following is not None and found.following.state is None:
        yield "this server follows another, and nothing comes from there"


def _awaited(quorum: str) -> int:
    """For how many a commit waits, as synchronous_standby_names says it."""
    counted = re.match(r"\s*(?:any|first)?\s*(\d+)\s*\(", quorum, re.IGNORECASE)
    return int(counted[1]) if counted else int(bool(quorum.strip()))


def _picture(found: Replication) -> RenderableType:
    parts: list[RenderableType] = [_headline(found)]
    if found.following is not None:
        parts.append(_followed(found.following))
    if found.followers:
        parts.append(_followers(found))
    elif found.following is None:
        parts.append(
            "No replica follows this server. `mercenary up --replicas N` runs some; of your own "
            "server, pg_basebackup makes one."
        )
    if found.slots:
        parts.append(_slots(found))
    return Group(*parts, *(f"[red]{escape(fault)}" for fault in _faults(found)))


def _headline(found: Replication) -> str:
    role = "The primary" if found.following is None else "A replica"
    waits = f"; commits wait for {escape(found.quorum)}" if found.quorum else ""
    return f"{role} on timeline {found.timeline or '?'} at {found.position or '?'}{waits}"


def _followed(following: Following) -> Table:
    row = (
        following.source or "nobody",
        "paused" if following.paused else following.state or "nothing comes",
        following.received or "?",
        following.replayed or "?",
        *_lag(following.lag_bytes, following.lag_seconds),
        following.slot or "",
    )
    columns = ("from", "state", "received", "replayed", "#not replayed", "#for", "slot")
    return table_of("What it follows", columns, [row])


def _followers(found: Replication) -> Table:
    columns = (
        "replica",
        "at",
        "state",
        "commits",
        "flushed",
        "replayed",
        "#not flushed",
        "#not replayed",
        "#for",
        "slot",
    )
    return table_of("Replicas", columns, [_row(each) for each in found.followers])


def _row(each: Follower) -> tuple[str, ...]:
    if each.state is None:
        return (escape(each.name), each.address, "for roles with pg_monitor alone", *[""] * 7)
    color = "[green]" if each.state == "streaming" else "[yellow]"
    unflushed = "?" if each.unflushed_bytes is None else bytes_text(each.unflushed_bytes)
    return (
        escape(each.name),
        each.address,
        f"{color}{each.state}",
        {"async": "don't wait", "potential": "might wait"}.get(each.synchronous or "", "wait"),
        each.flushed or "?",
        each.replayed or "?",
        unflushed,
        *_lag(each.lag_bytes, each.lag_seconds),
        each.slot or "",
    )


def _lag(lag_bytes: int | None, seconds: float | None) -> tuple[str, str]:
    return (
        "?" if lag_bytes is None else bytes_text(lag_bytes),
        "?" if seconds is None else short(seconds),
    )


def _slots(found: Replication) -> Table:
    rows = [
        (
            slot.name,
            slot.kind,
            "yes" if slot.active else "[red]no",
            slot.state or "keeps nothing yet",
            bytes_text(slot.kept_bytes or 0),
            "no bound" if slot.left_bytes is None else bytes_text(slot.left_bytes),
        )
        for slot in found.slots
    ]
    columns = ("slot", "kind", "in use", "log", "#kept", "#may still grow by")
    return table_of("Slots", columns, rows)
