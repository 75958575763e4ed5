"""`mercenary bench limits` says what it measured."""

import re

from click.testing import CliRunner

from mercenary.bench.limits import Row, met
from mercenary.cli import main


def test_it_measures_every_kind_of_request() -> None:
    result = CliRunner().invoke(main, ["bench", "limits", "--requests", "100"])
    assert result.exit_code in (0, 1), result.output
    rows = re.findall(
        r"^\| (.+?) \| -?[\d.]+ \(-?[\d.]+ to -?[\d.]+\) \| ([\d.]+) \|",
        result.stdout,
        re.MULTILINE,
    )
    assert len(rows) == 5
    refills = next(float(trips) for name, trips in rows if "refills" in name)
    assert 1 < refills < 20
    assert re.search(r"takes \d+ bytes", result.stdout)


def test_it_judges_itself_by_the_median() -> None:
    assert met([Row("quick", [1.0, 2.0, 90.0], 0.0, 5.0), Row("unbounded", [50.0], 0.0)])
    assert not met([Row("slow", [1.0, 6.0, 6.0], 0.0, 5.0)])
