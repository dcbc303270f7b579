"""The event loop that the bridge runs on, and how calls that would block it are made."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeVar

__all__ = ["in_daemon_thread", "run_loop"]

_T = TypeVar("_T")


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run `main` to its end, on uvloop where it is installed: it takes less CPU, and changes nothing else."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


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
