"""Tests of the deadlines that many operations share."""

import asyncio
import time

import pytest

from evse_mqtt_bridge.cloud.deadlines import Deadline, Deadlines


async def _operation(deadlines: Deadlines, seconds: float) -> str:
    try:
        with Deadline(deadlines):
            await asyncio.sleep(seconds)
    except TimeoutError:
        return "timed out"
    return "done"


async def test_deadline_stops_only_long_operations() -> None:
    deadlines = Deadlines(0.3)
    began = time.monotonic()
    operations = [_operation(deadlines, 0 if number % 2 else 60) for number in range(20)]
    assert await asyncio.gather(*operations) == ["timed out", "done"] * 10
    assert 0.25 < time.monotonic() - began < 5


async def test_deadline_counts_from_the_start_of_each_operation() -> None:
    deadlines = Deadlines(0.4)
    first = asyncio.create_task(_operation(deadlines, 60))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(_operation(deadlines, 60))
    began = time.monotonic()
    assert await first == "timed out"
    assert not second.done()
    assert await second == "timed out"
    assert time.monotonic() - began > 0.35


async def test_cancelled_operation_stays_cancelled() -> None:
    operation = asyncio.create_task(_operation(Deadlines(60), 60))
    await asyncio.sleep(0)
    operation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await operation


async def test_cancellation_beside_an_expired_deadline_wins() -> None:
    deadlines = Deadlines(0.05)

    async def work() -> None:
        with Deadline(deadlines) as deadline:
            deadline.expire()
            task.cancel()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_of_an_operation_is_raised() -> None:
    with pytest.raises(ZeroDivisionError), Deadline(Deadlines(60)):
        raise ZeroDivisionError


async def test_deadlines_work_again_after_an_idle_time() -> None:
    deadlines = Deadlines(0.1)
    assert await _operation(deadlines, 60) == "timed out"
    await asyncio.sleep(0.2)
    assert await _operation(deadlines, 0) == "done"
    assert await _operation(deadlines, 60) == "timed out"
    deadlines.close()
    deadlines.close()
