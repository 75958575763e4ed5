"""`mercenary bench relay` says what it measured, and judges itself."""

import re

from click.testing import CliRunner

from mercenary.bench.relay import LEAST_ROWS_PER_SECOND, Result
from mercenary.cli import main


def test_it_measures_the_relay_and_what_telling_costs() -> None:
    result = CliRunner().invoke(main, ["bench", "relay", "--rows", "500", "--runs", "1"])
    assert result.exit_code in (0, 1), result.output
    assert re.search(r"hands on [\d,]+ rows a second", result.stdout)
    writes = re.findall(r"^\| (\d+) \| (\d+), (\d+) \|", result.stdout, re.MULTILINE)
    assert [int(size) for size, _, _ in writes] == [1, 16, 256]
    assert all(int(telling) == int(silent) + 1 for _, silent, telling in writes)


def test_it_judges_itself_by_the_median() -> None:
    least = LEAST_ROWS_PER_SECOND
    assert Result([0.0, least, least], 0.0, []).met
    assert not Result([0.0, 0.0, least], 0.0, []).met
