"""Known holes in what is installed: `make audit`, which `.ci/run` calls.

pip-audit looks up every package of the lock files that the whole environment comes from. Its data
lies on the internet; where that can't be had this is said and fails nothing, because the other half
always holds: the lock files and this environment are at or above the versions that closed the holes
which we know to matter here.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.version import Version

# Raise one when an advisory concerns how the package is used here.
MINIMUM: Mapping[str, str] = {
    "starlette": "1.0.1",
    "granian": "2.8.1",
    "pyjwt": "2.13",
    "celery": "5.6.3",
}
LOCKS = ("requirements.lock", "requirements-bench.lock", "requirements-dev.lock")
# The one that holds all of them.
WHOLE = "requirements-dev.lock"
SECONDS = 300
_PINNED = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")

Pin = tuple[str, str]


def main(root: Path) -> int:
    """Audit the lock files below `root` and this environment; return the exit code."""
    faults = [
        *(
            fault
            for name in LOCKS
            for fault in too_old((root / name).read_text("utf-8").splitlines(), name)
        ),
        *too_old((f"{name}=={version}" for name, version in _installed()), "this environment"),
    ]
    found, said = looked_up(_pip_audit(root / WHOLE))
    for line in [*faults, *found, said]:
        sys.stdout.write(f"{line}\n")
    return 1 if faults or found else 0


def pins(lines: Iterable[str]) -> Iterator[Pin]:
    """The packages that a lock file's lines pin, by their normalized names (PEP 503)."""
    for line in lines:
        if pinned := _PINNED.match(line):
            yield re.sub(r"[-_.]+", "-", pinned[1]).lower(), pinned[2]


def too_old(lines: Iterable[str], where: str) -> Iterator[str]:
    """What is pinned below its minimum, a line each."""
    for name, version in pins(lines):
        least = MINIMUM.get(name)
        if least is not None and Version(version) < Version(least):
            yield f"{where}: {name} {version} has known holes; {least} or newer is needed"


def looked_up(report: str) -> tuple[list[str], str]:
    """The known holes in a report of pip-audit (its JSON), a line each, and how far it reached."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return [], "pip-audit got no data; only the minimum versions were checked."
    known = [package for package in packages if "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in "
        f"{', '.join(hole['fix_versions']) or 'no release yet'}"
        for package in known
        for hole in package["vulns"]
    ]
    if not known:
        return [], "pip-audit's source knows no package; only the minimum versions were checked."
    return found, f"pip-audit looked up {len(known)} of {len(packages)} packages."


def _installed() -> Iterator[Pin]:
    for name in MINIMUM:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _pip_audit(lock: Path) -> str:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        # Its exit code tells holes and a lost network apart no better than its report does.
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent.parent))
