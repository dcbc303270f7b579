"""How late the event loop is, in virtual time."""

import asyncio

import pytest

from evse_mqtt_bridge.observability.loop_lag import BEAT, REMEMBERED, LoopLag


class _Loop:
    """A monotonic clock whose sleep takes what it is told to, and `held_up` more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.held_up = 0.0, 0.0
        self._sleep = asyncio.sleep
        monkeypatch.setattr("evse_mqtt_bridge.observability.loop_lag.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.held_up
        await self._sleep(0)


async def _beats(pulse: LoopLag, count: int) -> None:
    """Lets the pulse beat so often."""
    beaten: list[bool] = []
    enough = asyncio.Event()

    def count_beats() -> None:
        beaten.append(True)
        if len(beaten) >= count:
            enough.set()
            task.cancel()

    pulse.on_beat = count_beats
    task = asyncio.create_task(pulse.run())
    await enough.wait()
    await asyncio.gather(task, return_exceptions=True)
    assert len(beaten) == count


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> _Loop:
    return _Loop(monkeypatch)


def test_a_loop_that_turns_has_no_lag(loop: _Loop) -> None:
    pulse = LoopLag(lambda: loop.now)
    assert pulse.worst == 0.0
    asyncio.run(_beats(pulse, 10))
    assert pulse.worst == 0.0


def test_a_loop_that_was_held_up_is_told_for_a_minute(loop: _Loop) -> None:
    pulse = LoopLag(lambda: loop.now)
    loop.held_up = 7.0
    asyncio.run(_beats(pulse, 1))
    loop.held_up = 0.0
    asyncio.run(_beats(pulse, round(REMEMBERED / BEAT) - 1))
    assert pulse.worst == 7.0
    asyncio.run(_beats(pulse, 1))
    assert pulse.worst == 0.0


def test_a_beat_that_is_overdue_counts_before_it_comes(loop: _Loop) -> None:
    pulse = LoopLag(lambda: loop.now)
    asyncio.run(_beats(pulse, 1))
    loop.now += 90.0  # whoever asks, asks before the beat that was due
    assert pulse.worst == 90.0
