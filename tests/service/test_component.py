"""The background task of a component: its start, its stop, and its exceptions."""

import asyncio

import pytest

from evse_mqtt_bridge.service.components.component import BackgroundTask


async def _until_cancelled(cancelled: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.append("task")


async def test_stop_running_task_waits_for_its_end() -> None:
    cancelled: list[str] = []
    task = BackgroundTask("test")
    task.start(_until_cancelled(cancelled))
    await asyncio.sleep(0)
    await task.stop()
    assert (cancelled, task.current) == (["task"], None)


async def test_stop_without_start_does_nothing() -> None:
    task = BackgroundTask("test")
    await task.stop()
    assert task.current is None


async def test_stop_failed_task_leaves_its_error_to_the_watcher() -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    task = BackgroundTask("test")
    task.start(fail())
    await asyncio.sleep(0)
    assert task.current is not None
    assert isinstance(task.current.exception(), ValueError)
    await task.stop()


async def test_stop_task_that_fails_on_cancellation_raises() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("a bug in the clean-up")

    task = BackgroundTask("test")
    task.start(fail_when_cancelled())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="clean-up"):
        await task.stop()


async def test_start_after_stop_runs_again() -> None:
    cancelled: list[str] = []
    task = BackgroundTask("test")
    for _ in range(2):
        task.start(_until_cancelled(cancelled))
        await asyncio.sleep(0)
        await task.stop()
    assert cancelled == ["task", "task"]
