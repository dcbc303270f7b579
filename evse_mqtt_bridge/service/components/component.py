"""The base class of components, and the owner of a background task."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from evse_mqtt_bridge.config.schema import Config

__all__ = ["BackgroundTask", "Component", "WatchedComponent"]


class Component:
    """A part of the running bridge that starts, stops and follows a changed configuration.

    A reload calls the methods that service/reload_plan.py lists, in its order. Every method does nothing here.
    """

    async def prepare(self, new: Config) -> None:
        """Validate the files that `new` names, and open resources that it needs; the running component is unchanged.

        Raises:
            ConfigError: A file that `new` names cannot be used.
        """

    async def start(self) -> None:
        """Start working with the current settings."""

    async def stop(self) -> None:
        """Stop working, and release the resources of `start`. Does nothing if the component is stopped."""

    def reconfigure(self, new: Config) -> None:
        """Switch to `new`. If the reload plan requires it, the component has been prepared and stopped."""


class WatchedComponent(Component):
    """A component with a task that runs all the time. Its end is a bug, which ends the process.

    Attributes:
        task: The task.
    """

    task: "BackgroundTask"


class BackgroundTask:
    """Owns one task, which runs until it is stopped."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        self._task = asyncio.create_task(work, name=self._name)

    def report_bugs(self, on_bug: Callable[[BaseException], None]) -> None:
        """Call `on_bug` with an exception that ends the running task."""

        def finished(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                on_bug(error)

        if self._task is not None:
            self._task.add_done_callback(finished)

    async def stop(self) -> None:
        """Cancel the task and wait for its end. Raises what the task raises while it is cancelled."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def current(self) -> asyncio.Task[None] | None:
        """The asyncio task; `None` while stopped."""
        return self._task
