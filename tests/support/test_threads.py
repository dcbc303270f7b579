"""Blocking calls run in daemon threads and hand their outcome to the event loop."""

import asyncio
import threading

import pytest

from evse_mqtt_bridge.support.threads import in_daemon_thread


async def test_in_daemon_thread_returns_result_of_named_thread() -> None:
    thread = await in_daemon_thread(threading.current_thread, "blocking-call")
    assert thread.name == "blocking-call"
    assert thread.daemon
    assert thread is not threading.current_thread()


async def test_in_daemon_thread_raises_exception_of_call() -> None:
    def fail() -> None:
        raise KeyError("reason")

    with pytest.raises(KeyError, match="reason"):
        await in_daemon_thread(fail, "blocking-call")


async def test_in_daemon_thread_cancelled_ignores_late_result() -> None:
    release, finished = threading.Event(), threading.Event()

    def block() -> None:
        release.wait()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).add_done_callback(lambda _: finished.set())

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(in_daemon_thread(block, "blocking-call"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await asyncio.to_thread(finished.wait, 10)
    await asyncio.sleep(0)
