"""What a figure means nothing without: the machine, the versions, the commit, the command."""

import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from mercenary.settings import cores

_PACKAGES = ("mercenary", "granian", "starlette", "sqlalchemy", "asyncpg", "msgspec", "uvloop")
_GIB = 1024**3


def machine(extra_packages: Iterable[str] = ()) -> dict[str, Any]:
    """The machine and the versions of what ran on it; memory in GiB."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {
            name: found
            for name in (*_PACKAGES, *extra_packages)
            if (found := _package(name)) is not None
        },
    }


def commit() -> str:
    """The commit of this checkout, with `-dirty` where it was changed; `unknown` outside of one."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    described = subprocess.run(  # noqa: S603 - git, with words of ours
        [git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() if described.returncode == 0 else "unknown"


def command() -> str:
    """The command line that is running, to be typed again."""
    return shlex.join(["mercenary", *sys.argv[1:]])


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
