"""`python -m tests.cluster URI [pytest's arguments]`: what can only be seen on a real cluster."""

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.database import VARIABLE

HERE: Final = Path(__file__).parent
CASES: Final = (HERE / "on_cluster.py", HERE.parent / "sharded")


def main() -> int:
    """Run the cases that need a cluster, and the API's tests on it; pytest's exit code."""
    if len(sys.argv) < 2:
        sys.stderr.write("Which cluster? Name a database for tests on its coordinator.\n")
        return 2
    os.environ[VARIABLE] = sys.argv[1]
    return int(pytest.main([*map(str, CASES), *sys.argv[2:]]))


if __name__ == "__main__":
    sys.exit(main())
