"""The lag of the event loop, on a simulated clock."""

import asyncio

import pytest

from evse_mqtt_bridge.observability.loop_lag import SAMPLE_INTERVAL, WINDOW, LoopLag


class _Loop:
    """A monotonic clock whose sleeps take `delay` seconds longer than requested."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.delay = 0.0, 0.0
        self._sleep = asyncio.sleep
        monkeypatch.setattr("evse_mqtt_bridge.observability.loop_lag.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.delay
        await self._sleep(0)


class _Sampler:
    """Runs a `LoopLag` for a number of samples at a time."""

    def __init__(self, loop: _Loop) -> None:
        self.loop_lag = LoopLag(lambda: loop.now, self._count)
        self.samples = 0
        self._until = 0
        self._enough = asyncio.Event()

    def _count(self) -> None:
        self.samples += 1
        if self.samples >= self._until:
            self._enough.set()
            self._task.cancel()

    async def run(self, count: int) -> None:
        self._until = self.samples + count
        self._enough.clear()
        self._task = asyncio.create_task(self.loop_lag.run())
        await self._enough.wait()
        await asyncio.gather(self._task, return_exceptions=True)
        assert self.samples == self._until


@pytest.fixture(name="loop")
def _loop(monkeypatch: pytest.MonkeyPatch) -> _Loop:
    return _Loop(monkeypatch)


@pytest.fixture(name="sampler")
def _sampler(loop: _Loop) -> _Sampler:
    return _Sampler(loop)


async def test_loop_lag_without_delay_is_zero(sampler: _Sampler) -> None:
    assert sampler.loop_lag.worst == 0.0
    await sampler.run(10)
    assert sampler.loop_lag.worst == 0.0


async def test_loop_lag_after_delay_lasts_for_the_window(loop: _Loop, sampler: _Sampler) -> None:
    loop.delay = 7.0
    await sampler.run(1)
    loop.delay = 0.0
    await sampler.run(round(WINDOW / SAMPLE_INTERVAL) - 1)
    assert sampler.loop_lag.worst == 7.0
    await sampler.run(1)
    assert sampler.loop_lag.worst == 0.0


async def test_loop_lag_includes_overdue_sample(loop: _Loop, sampler: _Sampler) -> None:
    await sampler.run(1)
    loop.now += 90.0  # a caller reads the lag before the sample that is due
    assert sampler.loop_lag.worst == 90.0
