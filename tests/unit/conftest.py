"""What a test of tasks and futures leaves behind: nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """No task goes on, and the loop has had nothing to complain about, when a test is over."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
    try:
        yield
        gc.collect(1)  # what a test made is young; the whole heap would take far longer
        assert complaints == []
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("batch ")] == []
    finally:
        loop.set_exception_handler(None)
