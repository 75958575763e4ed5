"""How `mercenary cache stats` looks at a terminal."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table

from mercenary.cache.counters import DELAYS
from mercenary.cache.entries import HEARD_SECONDS
from mercenary.cache.scoreboard import Board, Process
from mercenary.cli.spans import short, span
from mercenary.db.outbox import MOST_COUNTED, Backlog

Values = Mapping[str, float]

SILENT_SECONDS: Final = 5.0
"""A worker that hasn't written for so long is busy or stuck."""
_GOOD: Final = 0.9  # the guide's own figure
_MISSES: Final = {
    "absent": "missed: not in memory",
    "moved": "missed: something changed",
    "expired": "missed: its lifetime was over",
    "unheard": "missed: the relay's word was too old",
    "joined": "missed, and waited for another's fill",
    "forced": "not looked up: no-cache",
}
_FILLS: Final = {
    "fills": "fills, from the database",
    "renewals": "  of what was given out meanwhile",
    "failed": "fills that ended in a problem",
    "awaited": "fills spared by another process",
}
_VALKEY: Final = {
    "looks": "looks into Valkey",
    "unanswered": "  unanswered",
    "puts": "puts into Valkey",
    "lost": "  lost",
}


class Shown(msgspec.Struct, frozen=True):
    """What is known at a moment (seconds since 1970). `word_age` is None before the first word."""

    at: float
    board: Board
    word_age: float | None
    backlog: Backlog | None


def hit_ratio(values: Values, section: str) -> float | None:
    """The share of what was asked for that the database wasn't; None where nothing was."""
    asked = asked_of(values, section)
    return hits_of(values, section) / asked if asked else None


def hits_of(values: Values, section: str) -> float:
    """What was given out of memory or Valkey."""
    return _of(values, f"{section}_hits_memory_total") + _of(values, f"{section}_hits_valkey_total")


def asked_of(values: Values, section: str) -> float:
    """All that was asked for. What Valkey had was first missed in memory."""
    misses = sum(_of(values, f"{section}_{cause}_total") for cause in _MISSES)
    return _of(values, f"{section}_hits_memory_total") + misses


def shown(now: Shown, before: Shown | None) -> RenderableType:
    """All tables; with what was added since `before`, a second."""
    # Side by side where there is room for it.
    beside = Group(_workers(now), _changes(now, before))
    return Columns([_sections(now, before), beside])


class _Column:
    """A section's figures now, and a second's worth of what came since."""

    def __init__(self, section: str, now: Shown, before: Shown | None) -> None:
        self.section = section
        self.values = now.board.totals
        self._before = None if before is None else before.board.totals
        self._seconds = 0.0 if before is None else now.at - before.at

    def of(self, figure: Callable[[Values, str], float]) -> str:
        value = figure(self.values, self.section)
        if self._before is None or not self._seconds:
            return _number(value)
        added = (value - figure(self._before, self.section)) / self._seconds
        return f"[dim]{added:+,.0f}/s[/] {value:,.0f}" if added else _number(value)

    def count(self, name: str) -> str:
        return self.of(lambda values, section: _of(values, f"{section}_{name}_total"))

    def ratio(self) -> str:
        values, before = self.values, self._before
        if before is not None:
            added = {name: value - before.get(name, 0.0) for name, value in values.items()}
            if asked_of(added, self.section) > 0:
                values = added
        return _percent(hit_ratio(values, self.section))

    def memory(self) -> str:
        used = _of(self.values, f"{self.section}_memory_bytes")
        limit = _of(self.values, f"{self.section}_memory_limit_bytes")
        return f"{_size(used)} of {_size(limit)}"

    def entries(self) -> str:
        return _number(_of(self.values, f"{self.section}_memory_entries"))


def _sections(now: Shown, before: Shown | None) -> Table:
    columns = [_Column(section, now, before) for section in ("answers", "sessions")]
    since = span(now.at - now.board.since)
    table = Table("", "answers", "sessions", title=f"Caches of this host, all workers, {since}")
    table.title_justify = "left"
    for column in table.columns[1:]:
        column.justify = "right"

    def row(label: str, cell: Callable[[_Column], str]) -> None:
        table.add_row(label, *map(cell, columns))

    row("asked for", lambda column: column.of(asked_of))
    row("  hits in memory", lambda column: column.count("hits_memory"))
    row("  hits in Valkey", lambda column: column.count("hits_valkey"))
    row("hit ratio" + (" of this second" if before else ""), _Column.ratio)
    table.add_section()
    for cause, words in _MISSES.items():
        row(words, partial(_Column.count, name=cause))
    row("passed by: answered differently", lambda column: column.count("apart"))
    table.add_section()
    for name, words in _FILLS.items():
        row(words, partial(_Column.count, name=name))
    table.add_section()
    row("in memory", _Column.memory)
    row("  entries", _Column.entries)
    row("  made room", lambda column: column.count("evicted"))
    row("  too large", lambda column: column.count("refused"))
    table.add_section()
    for name, words in _VALKEY.items():
        row(words, partial(_Column.count, name=f"valkey_{name}"))
    return table


def _workers(now: Shown) -> Table:
    table = Table("worker", "up", "asked for", "hit ratio", "in memory", "entries", "Valkey")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in now.board.processes:
        table.add_row(*_worker(each, now.at))
    gone = now.board.gone
    if asked_of(gone, "answers"):
        ratio = _percent(hit_ratio(gone, "answers"))
        table.add_row("gone", "-", f"{asked_of(gone, 'answers'):,.0f}", ratio, "-", "-", "-")
    if now.board.others:
        table.add_row(f"{now.board.others} of another version", *["?"] * 6)
    return table


def _worker(each: Process, at: float) -> tuple[str, ...]:
    values = each.values
    silent = at - each.written
    away = values["valkey_default_away"] or values["valkey_session_away"]
    uptime = f"[red]silent {span(silent)}" if silent > SILENT_SECONDS else span(at - each.started)
    return (
        str(each.pid),
        uptime,
        f"{asked_of(values, 'answers'):,.0f}",
        _percent(hit_ratio(values, "answers")),
        _size(values["answers_memory_bytes"]),
        f"{values['answers_memory_entries']:,.0f}",
        "[red]away" if away else "[green]answers",
    )


def _changes(now: Shown, before: Shown | None) -> Table:
    column = _Column("", now, before)

    def count(name: str) -> str:
        return column.of(lambda values, _: _of(values, name))

    table = Table(show_header=False, title="What changed, as the workers hear it")
    table.title_justify = "left"
    table.add_row("the relay's word", _word(now.word_age))
    table.add_row("waits in the outbox", _backlog(now.backlog))
    table.add_row("clocks moved by changes here", count("clocks_moved_total"))
    table.add_row("  by changes elsewhere", count("listener_moved_total"))
    table.add_row("announcements heard", count("listener_announcements_total"))
    table.add_row("  tags in them", count("listener_changes_total"))
    table.add_row("subscriptions begun", count("listener_subscriptions_total"))
    table.add_row("from change to heard", _delays(column.values))
    table.add_row(
        "Valkey: calls, failed, spared",
        ", ".join(
            count(f"valkey_default_{name}_total") for name in ("calls", "failures", "spared")
        ),
    )
    return table


def _word(age: float | None) -> str:
    if age is None:
        return "[red]never heard; is a relay running?"
    if age < HEARD_SECONDS:
        return f"[green]{age * 1000:.0f} ms old"
    return f"[red]{span(age)} old: nothing is kept longer than a moment; is a relay running?"


def _backlog(backlog: Backlog | None) -> str:
    if backlog is None:
        return "[red]the database doesn't answer"
    if not backlog.rows:
        return "nothing"
    rows = f"{backlog.rows:,}" + (" or more" if backlog.rows >= MOST_COUNTED else "")
    return f"{rows} rows, the oldest for {short(backlog.oldest)}"


def _delays(values: Values) -> str:
    counts = [_of(values, name) for name in DELAYS]
    total = sum(counts)
    if not total:
        return "nothing yet"
    mean = _of(values, "delay_seconds_total") / total
    half, most = _quantile(counts, 0.5), _quantile(counts, 0.99)
    return f"{short(mean)} mean, half under {short(half)}, 99% under {short(most)}"


def _quantile(counts: list[float], share: float) -> float:
    """The bound of the bucket in which a share of the values is reached, in seconds."""
    wanted, reached = share * sum(counts), 0.0
    for power, count in enumerate(counts):
        reached += count
        if reached >= wanted:
            return (1 << power) / 1e6
    return float((1 << len(counts)) / 1e6)


def _of(values: Values, name: str) -> float:
    return values.get(name, 0.0)


def _percent(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"[{'green' if ratio >= _GOOD else 'yellow'}]{ratio:.1%}[/]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value else "[dim]0[/]"


def _size(size: float) -> str:
    return f"{size / 1_048_576:,.1f} MiB" if size >= 1_048_576 else f"{size / 1024:,.0f} KiB"
