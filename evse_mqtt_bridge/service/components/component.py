"""The interface of a component, and the owner of its background task."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Protocol

from evse_mqtt_bridge.config.schema import Config

__all__ = ["BackgroundTask", "Component"]


class Component(Protocol):
    """A part of the running bridge that starts, stops and follows a changed configuration.

    A reload calls the methods that service/reload_plan.py lists, in its order.
    """

    async def prepare(self, new: Config) -> None:
        """Validate and open what `new` needs. Nothing changes for what runs.

        Raises:
            ConfigError: a file that `new` names cannot be used.
        """

    async def start(self) -> None:
        """Start working by the current settings."""

    async def stop(self) -> None:
        """Stop working, and release what `start` took. Does nothing if the component is stopped."""

    def reconfigure(self, new: Config) -> None:
        """Go over to `new`, for which the component was stopped and prepared if the reload plan says so."""


class BackgroundTask:
    """Owns one task, which runs until it is stopped."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        self._task = asyncio.create_task(work, name=self._name)

    async def stop(self) -> None:
        """Cancel the task, and wait until it has ended. An exception that it raises meanwhile is raised here."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def current(self) -> asyncio.Task[None] | None:
        """The task as asyncio has it; `None` while it is stopped."""
        return self._task
