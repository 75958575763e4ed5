"""Judges a history by the contract. A pure function: `judge(history)` gives what was broken.

The rules, by the names that violations bear:

`stale`     a version older than the newest one that this reader was owed
`missing`   nothing, or a list without it, where every state that was owed had to be shown
`backward`  older than what the same client saw before, by the same worker at the same URL
`unborn`    a version that nobody had begun to write
`altered`   another content than its writer or an earlier reader was given for the version
`exposed`   a state that this caller may not see, or that the list's filters exclude
`miscounted` a list's total, or a facet's, that no state of the last second has
`lost`      an acknowledged write that a later one knew nothing of
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from tests.coherence.history import Act, Filters, History, ListRead, Promise, Read, Shown, Write
from tests.coherence.timeline import Timeline, fits


class Violation(msgspec.Struct, frozen=True):
    """One broken rule: of which thing, in which request's answer, and how."""

    rule: str
    key: str
    act: Act
    text: str


def judge(history: History) -> list[Violation]:
    """Everything in a history that the contract doesn't allow, in the order of time."""
    timelines = timelines_of(history)
    found: list[Violation] = []
    for timeline in timelines.values():
        found += _lost(timeline)
    by_kind = defaultdict(list)
    for timeline in timelines.values():
        by_kind[timeline.key.partition(":")[0]].append(timeline)
    for read in history.reads:
        if read.key in timelines:
            found += _of_look(timelines[read.key], read.act, read.promise, read.shown, read.filters)
    for each in history.lists:
        found += _of_list(each, by_kind[each.kind])
    found += _backward(history, timelines)
    return sorted(found, key=lambda violation: violation.act.begin)


def timelines_of(history: History) -> dict[str, Timeline]:
    """What is known of each thing that somebody wrote in this history."""
    writes: dict[str, list[Write]] = defaultdict(list)
    for write in history.writes:
        writes[write.key].append(write)
    sightings: dict[str, list[tuple[Act, Shown]]] = defaultdict(list)
    for read in history.reads:
        if read.shown is not None:
            sightings[read.key].append((read.act, read.shown))
    for each in history.lists:
        for key, shown in each.items.items():
            sightings[key].append((each.act, shown))
    return {key: Timeline(key, writes[key], sightings[key]) for key in writes}


def _of_look(
    timeline: Timeline, act: Act, promise: Promise, shown: Shown | None, filters: Filters
) -> Iterator[Violation]:
    """What is wrong with how one thing was shown, or wasn't."""
    key, floor = timeline.key, timeline.floor(promise, act)
    if shown is None:
        if not timeline.may_hide(floor, act.end, filters):
            yield Violation("missing", key, act, f"not there; version {floor} or newer was owed")
        return
    version = shown.version
    if version < floor:
        yield Violation("stale", key, act, f"version {version}; {floor} or newer was owed")
    if not timeline.may_exist(version, act.end):
        yield Violation("unborn", key, act, f"version {version}, which nobody had begun to write")
    known = timeline.state(version)
    for field in sorted(shown.state.keys() & known.keys()):
        if shown.state[field] != known[field]:
            text = f"version {version} has {field} {shown.state[field]!r}, not {known[field]!r}"
            yield Violation("altered", key, act, text)
    if fits({**known, **shown.state}, filters) is False:
        yield Violation("exposed", key, act, f"version {version} isn't for {dict(filters)}")


def _of_list(each: ListRead, timelines: list[Timeline]) -> Iterator[Violation]:
    """What is wrong with a page of a list: its items, what isn't among them, and its counts."""
    for timeline in timelines:
        shown = each.items.get(timeline.key)
        if shown is None:
            listable = timeline.may_show(0, each.act.end, each.filters)
            if not listable or not _is_missed(timeline, each):
                continue
        yield from _of_look(timeline, each.act, each.promise, shown, each.filters)
    for filters, number in each.counts:
        least = most = 0
        for timeline in timelines:
            floor = timeline.floor(each.promise, each.act)
            if timeline.may_show(floor, each.act.end, filters):
                most += 1
                least += not timeline.may_hide(floor, each.act.end, filters)
        if not least <= number <= most:
            text = f"{number} are counted for {dict(filters)}; from {least} to {most} may be there"
            yield Violation("miscounted", f"{each.kind}:*", each.act, text)


def _is_missed(timeline: Timeline, each: ListRead) -> bool:
    """Whether a thing that isn't on the page would be on it if it were in the list."""
    if each.oldest is None:
        return True
    return timeline.created_at is not None and timeline.created_at > each.oldest


def _lost(timeline: Timeline) -> Iterator[Violation]:
    """Acknowledged writes that were overwritten unseen, and versions that nobody accounts for."""
    made: dict[int, Write] = {}
    for write in timeline.writes:
        if write.version is None:
            continue
        other = made.setdefault(write.version, write)
        if other is not write:
            text = f"version {write.version} was acknowledged twice: {other.act.what}"
            yield Violation("lost", timeline.key, write.act, text)
        known = timeline.known(write.act.begin)
        if write.version <= known:
            text = f"made version {write.version} when {known} was there already"
            yield Violation("lost", timeline.key, write.act, text)
    stray = sorted(timeline.seen.keys() - made.keys())
    if len(stray) > len(timeline.unsure):
        act = timeline.seen[stray[-1]][0]
        text = f"versions {stray} were seen, with {len(timeline.unsure)} writes unconfirmed"
        yield Violation("unborn", timeline.key, act, text)


def _backward(history: History, timelines: Mapping[str, Timeline]) -> Iterator[Violation]:
    """What a client saw at one URL of one worker and didn't see there any more."""
    # One answer may show things of several kinds: who asks shows that the own session lives.
    highest: dict[tuple[str, str, str, str], dict[str, int]] = defaultdict(dict)
    looks: list[Read | ListRead] = [*history.reads, *history.lists]
    for look in sorted(looks, key=lambda look: look.act.begin):
        act = look.act
        kind = look.key.partition(":")[0] if isinstance(look, Read) else look.kind
        seen = highest[act.client, act.worker, act.url, kind]
        if isinstance(look, Read):
            items = {} if look.shown is None else {look.key: look.shown}
            known = [look.key] if look.key in seen else []
        else:
            items, known = dict(look.items), list(seen)
        for key in known:
            if key not in timelines:
                continue
            shown = items.get(key)
            if shown is not None and shown.version < seen[key]:
                text = f"version {shown.version} after {seen[key]}"
                yield Violation("backward", key, act, text)
            elif shown is None and not _left(timelines[key], look, seen[key]):
                yield Violation("backward", key, act, f"not there any more after {seen[key]}")
        for key, shown in items.items():
            seen[key] = max(seen.get(key, 0), shown.version)


def _left(timeline: Timeline, look: Read | ListRead, seen: int) -> bool:
    """Whether a thing that was seen may have gone from where it was seen."""
    if isinstance(look, ListRead) and not _is_missed(timeline, look):
        return True
    return timeline.may_hide(seen, look.act.end, look.filters)
