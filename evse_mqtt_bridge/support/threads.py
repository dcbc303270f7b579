"""Runs blocking calls outside of the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

__all__ = ["in_daemon_thread"]

_T = TypeVar("_T")


async def in_daemon_thread(call: Callable[[], _T], name: str) -> _T:
    """Run a blocking call in a daemon thread with this name; return its result or raise its exception.

    A cancelled call, such as a name resolution that takes half a minute, does not delay the end of the process. The
    threads of an executor would.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def finish(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # raised in the caller
            set_outcome = partial(future.set_exception, error)
        else:
            set_outcome = partial(future.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, set_outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
