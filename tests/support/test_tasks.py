import asyncio
import gc

import pytest

from evse_mqtt_bridge.support.tasks import shared_result


async def _fail() -> None:
    await asyncio.sleep(0)
    raise OSError("gone")


async def _succeed() -> int:
    await asyncio.sleep(0)
    return 5


async def test_shared_result_reaches_every_caller() -> None:
    task = asyncio.create_task(_succeed())
    first, second = await asyncio.gather(shared_result(task), shared_result(task))
    assert first == second == 5


async def test_shared_failure_reaches_every_caller() -> None:
    task = asyncio.create_task(_fail())
    results = await asyncio.gather(shared_result(task), shared_result(task), return_exceptions=True)
    assert [str(result) for result in results] == ["gone", "gone"]


async def test_cancelled_caller_leaves_the_task_running() -> None:
    task = asyncio.create_task(_succeed())
    caller = asyncio.create_task(shared_result(task))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await task == 5


async def test_handled_failure_without_caller_is_no_error() -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    task = asyncio.create_task(_fail())
    task.add_done_callback(lambda done: done.exception())
    caller = asyncio.create_task(shared_result(task))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait((task, caller))
    del task, caller
    gc.collect()
    assert problems == []
