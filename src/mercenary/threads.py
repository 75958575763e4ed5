"""A few threads for work that would hold the event loop up, with a bounded number that waits.

For work that releases the interpreter's lock, such as hashing and compressing; other work would
only take turns with the loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mercenary.errors import Overloaded
from mercenary.sojourn import elsewhere

T = TypeVar("T")


class Threads:
    """`count` threads, for which at most `waiting` pieces of work wait.

    `refusal` is what a caller is told when there is no room, to come back in `retry_after` seconds.
    """

    def __init__(
        self, name: str, *, count: int, waiting: int, refusal: str, retry_after: int = 1
    ) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._free = count + waiting
        self._refusal = refusal
        self._retry_after = retry_after

    @property
    def full(self) -> bool:
        """Whether more work would be refused."""
        return self._free == 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in one of the threads.

        Raises:
            Overloaded: too much waits already.
        """
        if self.full:
            raise Overloaded(self._refusal, retry_after=self._retry_after)
        self._free -= 1
        future = self._executor.submit(work)
        # A caller who leaves doesn't free the thread; the work's end does.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        with elsewhere():
            return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the threads go once they are done with what they have begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self) -> None:
        self._free += 1
