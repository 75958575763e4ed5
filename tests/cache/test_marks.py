"""What is read while a change is being written isn't kept, however that change ends."""

import time
from pathlib import Path

import msgspec
import pytest

from mercenary.cache import clocks
from mercenary.cache.clocks import MARK_SECONDS, Clocks
from mercenary.cache.entries import Codec, Want
from mercenary.cache.memory import Memory
from mercenary.cache.shelf import Shelf
from mercenary.cache.tiers import Tiers
from mercenary.cache.valkey import Valkey

NUMBERS: Codec[int] = Codec(msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)


@pytest.fixture
def tiers(tmp_path: Path) -> Tiers:
    nowhere = Valkey("redis://127.0.0.1:1/0", seconds=0.05)
    table = Clocks(tmp_path / "clocks")
    return Tiers(table, Memory(1 << 20), Shelf(nowhere), seconds=60.0, deadline=5.0)


async def test_a_mark_that_expires_during_a_reading_still_counts(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker was killed while it wrote, and its mark let an announcement move nothing."""
    table, want = tiers.clocks, Want(b"project 1", ("project:1",), NUMBERS)
    later = time.monotonic() + MARK_SECONDS + 1

    async def read() -> int:
        table.apply(["project:1"], table.fresh())
        monkeypatch.setattr(clocks, "monotonic", lambda: later)
        return 1

    table.begin(["project:1"], table.fresh())
    assert (await tiers.get(want, read))[0] == 1
    assert tiers.memory.get(want.key) is None


async def test_what_is_read_after_a_mark_has_expired_is_kept(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, want = tiers.clocks, Want(b"project 1", ("project:1",), NUMBERS)
    table.begin(["project:1"], table.fresh())
    later = time.monotonic() + MARK_SECONDS + 1
    monkeypatch.setattr(clocks, "monotonic", lambda: later)

    async def read() -> int:
        return 1

    assert (await tiers.get(want, read))[0] == 1
    assert tiers.memory.get(want.key) is not None
