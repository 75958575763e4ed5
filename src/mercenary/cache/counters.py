"""All that a process counts of its caches and its pool, as one flat table of numbers.

`snapshot` makes it and `NAMES` lists what is in it, in its order. The names are for others to rely
on (the scoreboard, Prometheus), so they change only with what they mean. They end in `_total` where
they count since the process started, and otherwise in their unit.

`answers_…` is the cache of finished answers and query results, `sessions_…` that of living
sessions. Each has
    hits_memory, hits_valkey         given out of this process's memory, or of Valkey
    absent, moved, expired, unheard  misses: it wasn't in memory; something had changed; its
                                     lifetime was over; the relay's word was too old
    joined                           misses that waited for another's fill
    forced                           fills that a caller demanded
    apart                            passed by, for callers who are answered differently
    fills, failed                    filled from the database, and tries that ended in a problem,
                                     such as 404, which is never kept
    renewals, awaited                fills of what was given out meanwhile; fills spared because
                                     another process made one
    valkey_looks, valkey_unanswered  asked of Valkey, and those that it didn't answer in time
    valkey_puts, valkey_lost         put into Valkey, and those that it didn't take
    valkey_foreign                   entries under another's digest, or that couldn't be read
    memory_bytes, memory_limit_bytes, memory_entries
                                     kept in memory, and the bound on its bytes
    evicted, refused                 entries that made room; that were too large
`valkey_default_…` and `valkey_session_…` are the two ways to Valkey: calls, failures (calls without
an answer in time), spared (not made while it was away), and `away`, 1 while it is. The former also
carries what limits ask.
`listener_…` is what was heard of changes: announcements, changes (tags), moved (clocks that this
host hadn't moved itself), subscriptions (each empties the host's memory).
`clocks_moved_total` is how many clocks this process's own changes moved: its invalidations.
`word_age_seconds` is how old the relay's last word is, infinite before the first one.
`delay_below_N_us_total` are changes by the time from their transaction to their being applied here:
under N µs and not under half of it, the last one all that took longer; `delay_seconds_total` is
their sum.
`pool_…` is the pool of connections to the database, as `db/pool.py` explains, and `replicas_…` what
its replicas answered, as `db/replicas.py` does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from mercenary.cache.listener import ListenerMeasures
from mercenary.cache.shelf import ShelfMeasures
from mercenary.cache.tiers import TierMeasures, Tiers
from mercenary.cache.valkey import Valkey, ValkeyMeasures
from mercenary.db import pool, replicas
from mercenary.measures import durations

if TYPE_CHECKING:
    from mercenary.cache.caches import Caches

DELAYS: Final = tuple(
    f"delay_below_{1 << power}_us_total" for power in range(len(durations().buckets))
)
"""The counters of the histogram of delays, from the shortest."""


def _counts(kind: type) -> tuple[str, ...]:
    """What a class of measures counts."""
    return tuple(each.name for each in fields(kind) if each.type is int)


_TIER: Final = _counts(TierMeasures)
_SHELF: Final = _counts(ShelfMeasures)
_WAY: Final = _counts(ValkeyMeasures)
_LISTENER: Final = _counts(ListenerMeasures)


def _section_names(section: str) -> Iterator[str]:
    yield from (f"{section}_{name}_total" for name in _TIER)
    yield from (f"{section}_valkey_{name}_total" for name in _SHELF)
    yield f"{section}_memory_bytes"
    yield f"{section}_memory_limit_bytes"
    yield f"{section}_memory_entries"
    yield f"{section}_evicted_total"
    yield f"{section}_refused_total"


def _section(tiers: Tiers) -> Iterator[float]:
    yield from _values(tiers.measures, _TIER)
    yield from _values(tiers.shelf.measures, _SHELF)
    memory = tiers.memory
    yield from (memory.size, memory.limit, len(memory), memory.evicted, memory.refused)


def _way_names(section: str) -> Iterator[str]:
    yield from (f"valkey_{section}_{name}_total" for name in _WAY)
    yield f"valkey_{section}_away"


def _way(valkey: Valkey) -> Iterator[float]:
    yield from _values(valkey.measures, _WAY)
    yield valkey.away


def _values(measures: Any, names: tuple[str, ...]) -> Iterator[float]:
    return (getattr(measures, name) for name in names)


NAMES: Final = (
    *_section_names("answers"),
    *_section_names("sessions"),
    *_way_names("default"),
    *_way_names("session"),
    *(f"listener_{name}_total" for name in _LISTENER),
    "clocks_moved_total",
    "word_age_seconds",
    *DELAYS,
    "delay_seconds_total",
    *pool.NAMES,
    *replicas.NAMES,
)
"""Every name of a snapshot, in its order."""


def snapshot(caches: "Caches", database_counts: Mapping[str, float]) -> dict[str, float]:
    """What the process has counted by now, by `NAMES`. It takes 30 µs."""
    clocks, listener = caches.clocks, caches.listener.measures
    heard = clocks.heard
    values = (
        *_section(caches.answers),
        *_section(caches.sessions),
        *_way(caches.answers.shelf.valkey),
        *_way(caches.sessions.shelf.valkey),
        *_values(listener, _LISTENER),
        clocks.settled,
        monotonic() - heard if heard else float("inf"),
        *listener.delays.buckets,
        listener.delays.total,
        *database_counts.values(),
    )
    return dict(zip(NAMES, map(float, values), strict=True))
