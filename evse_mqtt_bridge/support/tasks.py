"""Waits for tasks that several callers share."""

import asyncio
from typing import TypeVar

__all__ = ["shared_result"]

_T = TypeVar("_T")


async def shared_result(task: asyncio.Task[_T]) -> _T:
    """Wait for a task that other callers may wait for, too; return its result or raise its exception.

    Cancelling the caller does not cancel the task. `asyncio.shield` does the same, but since Python 3.14 it reports the
    failure of a task whose callers were all cancelled as an error in the event loop.
    """
    await asyncio.wait((task,))
    return task.result()
