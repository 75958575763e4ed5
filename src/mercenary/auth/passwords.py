"""Hashing passwords: Argon2id, off the event loop, a bounded number at once.

A hash takes tens of milliseconds and 19 MiB by design (OWASP's minimum), so that guessing is dear.
Unbounded, a wave of sign-ins would take all memory; so a few run and a bounded number wait.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mercenary.errors import Overloaded
from mercenary.settings import Settings

T = TypeVar("T")


def hasher_of(settings: Settings) -> PasswordHasher:
    """The hasher that the settings describe."""
    return PasswordHasher(
        time_cost=settings.argon2_time_cost,
        memory_cost=settings.argon2_memory_kib,
        parallelism=settings.argon2_parallelism,
    )


class Passwords:
    """Hashes and verifies in threads (argon2 releases the interpreter's lock)."""

    def __init__(self, settings: Settings) -> None:
        self._hasher = hasher_of(settings)
        self._threads = ThreadPoolExecutor(
            settings.password_hashes_at_once, thread_name_prefix="argon2"
        )
        self._free = settings.password_hashes_at_once + settings.password_hashes_waiting
        # What an unknown account is verified against, so that it takes as long as a known one.
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The hash to store.

        Raises:
            Overloaded: too many wait for a hash already.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the one of the hash; None stands for an unknown account.

        Raises:
            Overloaded: too many wait for a hash already.
        """
        matches = await self._run(lambda: self.matches(password, stored or self._nobody))
        return matches and stored is not None

    def matches(self, password: str, stored: str) -> bool:
        """Whether they belong together, found out in the calling thread."""
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._free == 0:
            raise Overloaded("Too many people sign in at this moment.", retry_after=2)
        self._free -= 1
        future = self._threads.submit(work)
        # A caller who leaves doesn't free the thread; the work's end does.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        return await asyncio.wrap_future(future)

    def _release(self) -> None:
        self._free += 1
