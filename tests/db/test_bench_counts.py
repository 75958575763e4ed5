"""`mercenary bench counts` says what it measured, and judges itself."""

import asyncio
import re

from click.testing import CliRunner

from mercenary import settings
from mercenary.bench.counts import Row, met
from mercenary.cli import main
from mercenary.seeding.seed import seed


async def test_each_list_has_its_total_and_its_facets(migrated_uri: str) -> None:
    await seed(migrated_uri, settings.get(), projects=200, seed=1, with_demo=False)
    arguments = ["bench", "counts", "--runs", "1", "--database", migrated_uri]
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert result.exit_code in (0, 1), result.output
    row = r"^\| `(/.+?)` \| \d+ \(\d+ to \d+\) \| \d+ \(\d+ to \d+\) \| [\d.]+ / [\d.]+ \|$"
    lists = re.findall(row, result.stdout, re.MULTILINE)
    assert len(lists) == 9
    assert {"/projects", "/projects?q=work", "/users"} <= set(lists)


def test_a_count_that_takes_longer_than_a_statement_may_is_missed() -> None:
    assert met([Row("quick", [0.1, 0.2], [1.0], 1e-5, 1e-5)])
    assert not met([Row("slow", [0.1, 0.2], [1.0, 60.0], 1e-5, 1e-5)])
    assert not met([Row("not kept", [0.1], [0.1], 0.1, 1e-5)])
