"""The API's port: found free, and kept so until the server has it."""

import contextlib
import errno
import socket
import sys
from collections.abc import Iterator

from mercenary.settings import SetupError


@contextlib.contextmanager
def hold_port(host: str, port: int) -> Iterator[int]:
    """Check that `port` is free (0: choose one) and keep others off it; gives the port.

    On Linux it stays held: granian shares it (SO_REUSEPORT), and a socket that doesn't listen gets
    no connections. Raises `SetupError`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # Connections of an earlier run that linger don't take a port; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets that only bind don't see each other under SO_REUSEADDR; listeners do.
            probe.listen(1)
        except OSError as error:
            raise SetupError(_explained(host, port, error)) from error
        port = probe.getsockname()[1]
    if sys.platform != "linux":
        yield port
        return
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((host, port))
        except OSError as error:
            raise SetupError(_explained(host, port, error)) from error
        yield port


def _explained(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken; stop what listens there or give another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} is for root alone; give one above 1023 with --port"
    return f"can't listen on {host} port {port} ({error.strerror or error}); mend MERCENARY_HOST"
