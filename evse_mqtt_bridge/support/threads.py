"""How calls that would block the event loop are made."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

__all__ = ["in_daemon_thread"]

_T = TypeVar("_T")


async def in_daemon_thread(call: Callable[[], _T], name: str) -> _T:
    """Run a call that blocks, in a thread of this name, and return or raise what it does.

    Unlike one in a thread of an executor, a call that is given up for good (name resolution may take half a minute)
    does not hold up the end of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(settle: Callable[[], None]) -> None:
        if not done.done():
            settle()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # carried over to the caller
            settle = partial(done.set_exception, error)
        else:
            settle = partial(done.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(finish, settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
