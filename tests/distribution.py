"""How the tests are shared out among the processes of `pytest -n`: by file, the longest first.

Each process has servers of its own, so what stands between two files is the time alone. Folders
whose files share servers besides stay together.
"""

from typing import Final

from xdist.scheduler import LoadFileScheduling

# Those that take minutes, so that none of them is still going on when all else is done; `pytest
# --durations 50` shows which they are.
LONGEST: Final = (
    "tests/coherence/",
    "tests/faults/test_up.py",
    "tests/fuzz/",
    "tests/faults/",
    "tests/api/test_bench",
    "tests/db/test_bench",
    "tests/db/test_plans",
    "tests/replicas",
    "tests/cdn/",
    "tests/limits/",
)
TOGETHER: Final = ("tests/replicas/", "tests/pooled/")


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]  # xdist is untyped
    """Hands a process the longest file that is left, or a whole folder."""

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid[: nodeid.rindex("/", 0, nodeid.index(".py")) + 1]
        return folder if folder in TOGETHER else str(super()._split_scope(nodeid))

    def _assign_work_unit(self, node: object) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=_rank), last=False)
        super()._assign_work_unit(node)


def _rank(scope: str) -> int:
    return next((rank for rank, each in enumerate(LONGEST) if scope.startswith(each)), len(LONGEST))
