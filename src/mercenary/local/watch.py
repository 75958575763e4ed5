"""The children of a stack: watched, started again after a pause, stopped in order.

`supervisor.Supervisor` adds them as it starts them, and looks after them in its loop.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mercenary.local.children import Child, ChildError
from mercenary.local.processes import mark
from mercenary.local.state import Service, State

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
RAN_WELL: Final = 60.0  # seconds after which a child's next death is a first one again


@dataclass
class Watched:
    """A child and when it is to be started again, if it is down.

    `failed` says that the last try to start it again was in vain.
    """

    child: Child
    service: Service
    start: Callable[[], None]
    pause: float = FIRST_PAUSE
    again_at: float | None = None
    failed: bool = False


@dataclass
class Watch:
    """All children, in the order of their start. `file` is where `state` is written down.

    `say` gets a line for people.
    """

    state: State
    file: Path
    say: Callable[[str], None]
    _all: list[Watched] = field(default_factory=list, init=False)

    def add(self, child: Child, address: str, start: Callable[[], None]) -> None:
        """Watch a child, which `start` starts again."""
        service = Service(name=child.name, address=address)
        self.state.services.append(service)
        self._all.append(Watched(child, service, start))
        self.note()

    def look(self) -> Iterator[Watched]:
        """Start again who has ended and had its pause.

        Gives those that were found to have ended, and those that couldn't be started.
        """
        for watched in self._all:
            if watched.again_at is None:
                if watched.child.pid is None:
                    self._plan_restart(watched, watched.child.ending)
                    yield watched
            elif time.monotonic() >= watched.again_at:
                self._restart(watched)
                if watched.failed:
                    yield watched

    def restart(self, child: Child) -> None:
        """Start a child at once that was stopped on purpose; one that runs is left alone."""
        for watched in self._all:
            if watched.child is child and child.pid is None:
                self._restart(watched)

    def note(self) -> None:
        """Write down who runs."""
        for watched in self._all:
            pid = watched.child.pid
            if pid is None:
                watched.service.mark = None
            elif watched.service.mark is None or watched.service.mark.pid != pid:
                watched.service.mark = mark(pid)
                watched.service.started = time.time()
        try:
            self.state.write(self.file)
        except OSError as error:
            if not self.state.ready:
                raise
            # What runs, runs on, even when the disk is full.
            self.say(f"can't write {self.file}: {error.strerror}")

    def stop(self, halfway: Callable[[], bool]) -> None:
        """Stop all, the last one first, and kill whoever isn't done once `halfway()` says so."""
        for watched in reversed(self._all):
            if not watched.child.stop(halfway):
                self.say(f"{watched.child.name} didn't end in time and was killed")
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()

    def _plan_restart(self, watched: Watched, why: str) -> None:
        child = watched.child
        if child.ran >= RAN_WELL:
            watched.pause = FIRST_PAUSE
        child.stop()  # what its group has left behind
        self.say(
            f"{child.name} {why}; starting it again in {watched.pause:g} s (its log: {child.log})"
        )
        watched.again_at = time.monotonic() + watched.pause
        watched.pause = min(watched.pause * 2, LONGEST_PAUSE)
        self.note()

    def _restart(self, watched: Watched) -> None:
        watched.again_at = None
        watched.service.restarts += 1
        try:
            watched.start()
        except ChildError as error:
            watched.failed = True
            self._plan_restart(watched, str(error).removeprefix(f"{watched.child.name} "))
        else:
            watched.failed = False
            self.note()
            self.say(f"{watched.child.name} runs again")
