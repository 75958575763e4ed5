"""A worker that asks for one caller's requests as fast as it can: `python -m tests.limits.flood`.

It takes the address of Valkey, the number of workers and the seconds that Valkey may take, says by
an empty line that it is ready, and takes an order a line. It writes a `+` for each request granted,
at once, so that they count if it is killed, and at the end of an order what else it has counted.
"""

import asyncio
import os
import signal
import sys
import time

import msgspec

from mercenary.cache import valkey
from mercenary.limits.limiter import Limiter, Quota
from mercenary.limits.policy import Policy
from mercenary.settings import Settings
from mercenary.telemetry import logs

AT_ONCE = 20
"""Requests of a worker under way."""
# Windows that no test sees the end of.
YEAR = 31_536_000


class Order(msgspec.Struct):
    """Ask until a request is refused, or `requests` times; `die_after` so many were granted."""

    limit: int
    subject: str
    requests: int = 1_000_000
    die_after: int = 0
    window: int = YEAR


class Counted(msgspec.Struct):
    """What a worker has counted since it started."""

    refused: bool
    alone: int
    calls: int
    failures: int
    away: bool


class Worker:
    """One process's limiter and what it is to do with it."""

    def __init__(self, url: str, workers: int, seconds: float) -> None:
        settings = Settings(limit_workers=workers, valkey_timeout=seconds)
        valkey.use(valkey.Valkey(url, seconds=settings.valkey_timeout))
        self.limiter = Limiter(settings)
        self.quotas: dict[Policy, Quota] = {}

    async def carry_out(self, order: Order) -> Counted:
        policy = Policy(f"flood {order.limit}", order.limit, order.window)
        quota = self.quotas.setdefault(policy, self.limiter.quota(policy))
        left, granted, refused = order.requests, 0, False

        async def one_after_another() -> None:
            nonlocal left, granted, refused
            while left and not refused:
                left -= 1
                lease = quota.lease_of(order.subject)
                allowed = lease.spend(time.monotonic())
                if allowed is None:
                    allowed = await quota.obtain(lease)
                if not allowed:
                    refused = True
                    continue
                os.write(sys.stdout.fileno(), b"+")
                granted += 1
                if granted == order.die_after:
                    os.kill(os.getpid(), signal.SIGKILL)

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        seen = valkey.current()
        return Counted(
            refused,
            self.limiter.measures.alone,
            seen.measures.calls,
            seen.measures.failures,
            seen.away,
        )


async def main(url: str, workers: int, seconds: float) -> None:
    logs.configure("error")  # its place is standard output
    worker = Worker(url, workers, seconds)
    os.write(sys.stdout.fileno(), b"\n")
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        counted = await worker.carry_out(msgspec.json.decode(line, type=Order))
        os.write(sys.stdout.fileno(), msgspec.json.encode(counted) + b"\n")
    await worker.limiter.close()
    await valkey.current().close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
