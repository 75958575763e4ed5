"""Debian's Varnish with our configuration, in front of a server of the test's."""

import os
import random
import shutil
import signal
import socket
from pathlib import Path

import httpx

from mercenary.local.children import Child

HOST = "127.0.0.1"
CONFIGURATION = Path(__file__).parents[2] / "deploy/varnish/default.vcl"
# Below the ports that the kernel gives away, so that one stays free while nothing listens there.
_PORTS = range(20_000, 32_000)


class Varnish:
    """One Varnish; whoever goes through it asks `url`."""

    def __init__(self, folder: Path, backend: int) -> None:
        self.port = _free_port()
        self.url = f"http://{HOST}:{self.port}"
        folder.mkdir()
        configuration = folder / "default.vcl"
        written = CONFIGURATION.read_text()
        assert '"8000"' in written
        configuration.write_text(written.replace('"8000"', f'"{backend}"'))
        program = shutil.which("varnishd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None, "install what .ci/run installs: varnish, varnish-modules"
        self.child = Child(
            "varnish",
            [
                *(program, "-F", "-j", "none", "-n", str(folder / "run")),
                *("-a", f"{HOST}:{self.port}", "-f", str(configuration)),
                *("-s", "malloc,32m", "-p", "thread_pools=1", "-p", "thread_pool_min=5"),
            ],
            folder / "varnish.log",
            self._listens,
            environment=dict(os.environ) | {"TMPDIR": str(folder)},
        )

    def pause(self) -> None:
        """Have it hold still with all that it keeps, as if the way to it were cut."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.child.pid is not None
        os.killpg(self.child.pid, number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


def was_kept(answer: httpx.Response) -> bool:
    """Whether Varnish answered by itself: it then names the request that filled it, too."""
    return len(answer.headers["x-varnish"].split()) == 2


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
