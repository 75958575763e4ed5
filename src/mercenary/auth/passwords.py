"""Hashing passwords: Argon2id, off the event loop, a bounded number at once.

A hash takes tens of milliseconds and 19 MiB by design (OWASP's minimum), so that guessing is dear.
Unbounded, a wave of sign-ins would take all memory; so a few run and a bounded number wait.
"""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mercenary.settings import Settings
from mercenary.threads import Threads


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
        self._threads = Threads(
            "argon2",
            count=settings.password_hashes_at_once,
            waiting=settings.password_hashes_waiting,
            refusal="Too many people sign in at this moment.",
            retry_after=2,
        )
        # What an unknown account is verified against, so that it takes as long as a known one.
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The hash to store.

        Raises:
            Overloaded: too many wait for a hash already.
        """
        return await self._threads.run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the one of the hash; None stands for an unknown account.

        Raises:
            Overloaded: too many wait for a hash already.
        """
        matches = await self._threads.run(lambda: self.matches(password, stored or self._nobody))
        return matches and stored is not None

    def matches(self, password: str, stored: str) -> bool:
        """Whether they belong together, found out in the calling thread."""
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()
