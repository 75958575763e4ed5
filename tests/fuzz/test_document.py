"""The document and the product agree, as far as schemathesis can tell in a minute or two."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.invocation import Signature
from tests.fuzz.runs import Run, new_stack
from tests.fuzz.stage import ROLES, set_stage

SEED = 1
MAX_EXAMPLES = 3
PATIENCE = 900.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """A run for each role, all at once, on a stack of their own."""
    with new_stack() as stack:
        stage = asyncio.run(set_stage(stack.url, stack.database_uri))
        started = {
            role: Run(stage, role, tmp_path_factory.mktemp(role), SEED, MAX_EXAMPLES)
            for role in ROLES
        }
        yield started
        for run in started.values():
            run.process.kill()
            run.process.wait()


@pytest.mark.parametrize("role", ROLES)
def test_every_check_holds_whoever_asks(role: str, runs: dict[str, Run]) -> None:
    found = runs[role].wait(PATIENCE)
    assert found == 0, runs[role].report


def test_every_endpoint_is_asked_and_does_its_work(runs: dict[str, Run]) -> None:
    """What never succeeds isn't tested, whatever the checks say."""
    counts: Counter[tuple[str, int]] = Counter()
    for run in runs.values():
        run.wait(PATIENCE)
        counts += run.counts
    expected = {(endpoint.name, Signature(endpoint).status) for endpoint in ENDPOINTS}
    assert expected - set(counts) == set()
