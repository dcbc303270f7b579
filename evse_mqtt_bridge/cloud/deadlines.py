"""Deadlines for many short operations, with a fifth of the CPU time of asyncio.timeout, because every poll has one.

All operations have the same time limit, so they expire in the order in which they started. One timer, for the oldest
operation, is therefore enough for all of them.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

__all__ = ["Deadline", "Deadlines"]


class Deadlines:
    """The deadlines of operations that all have the same time limit.

    Attributes:
        seconds: Maximum duration of an operation.
        loop: The event loop of the operations.
        running: The deadlines of operations that have neither expired nor ended, oldest first.
        timer: The timer for the oldest operation; it may be set although none is running.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.loop = asyncio.get_running_loop()
        self.running: dict[Deadline, None] = {}
        self.timer: asyncio.TimerHandle | None = None

    def set_timer(self, end: float) -> None:
        """Set the timer to the deadline of the oldest operation, on the event loop's clock in seconds."""
        self.timer = self.loop.call_at(end, self._on_timer)

    def close(self) -> None:
        """Stop the timer; operations that still run do not expire any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _on_timer(self) -> None:
        self.timer = None
        now = self.loop.time()
        for deadline in list(self.running):
            if deadline.end > now:
                self.set_timer(deadline.end)
                break
            del self.running[deadline]
            deadline.expire()


class Deadline:
    """A context manager that cancels an operation of the current task at its deadline, and raises TimeoutError.

    Attributes:
        end: The deadline on the event loop's clock, in seconds; known once the context is entered.
    """

    __slots__ = ("_cancelling", "_deadlines", "_has_expired", "_task", "end")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._has_expired = False

    def expire(self) -> None:
        """Cancel the operation."""
        self._has_expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        deadlines = self._deadlines
        # Without this argument, current_task makes a system call to find the running loop.
        task = asyncio.current_task(deadlines.loop)
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self.end = deadlines.loop.time() + deadlines.seconds
        deadlines.running[self] = None
        if deadlines.timer is None:
            deadlines.set_timer(self.end)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._has_expired:
            del self._deadlines.running[self]
        elif self._task.uncancel() <= self._cancelling and exc_type is asyncio.CancelledError:
            # If other code has cancelled the task too, that cancellation continues, as with asyncio.timeout.
            raise TimeoutError from exc
