"""Aging as a component: rounds twice per second, and steps that leave the event loop to others."""

import asyncio
from collections.abc import Callable

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.components.aging import Aging
from tests.harness.samples import NOW
from tests.harness.virtual_time import run


def _run_aging(age: Callable[[Moment, int], bool], seconds: float) -> None:
    async def work() -> None:
        aging = Aging(Clock(asyncio.get_running_loop().time, lambda: 0.5, lambda: NOW), age)
        await aging.start()
        await asyncio.sleep(seconds)
        await aging.stop()
        assert aging.task.current is None
        await asyncio.sleep(5)

    run(work())


def test_aging_runs_twice_per_second_until_stopped() -> None:
    times = []

    def age(moment: Moment, _limit: int) -> bool:
        times.append(moment.monotonic - 1000)
        return False

    _run_aging(age, seconds=9.9)
    assert times == [number * 0.5 for number in range(20)]


def test_aging_of_many_stations_lets_others_run() -> None:
    left, others = 450, 0
    others_before_step: list[int] = []

    def other() -> None:
        nonlocal others
        others += 1

    def age(_moment: Moment, limit: int) -> bool:
        nonlocal left
        if left > 0:
            others_before_step.append(others)
            asyncio.get_running_loop().call_soon(other)
        left -= limit
        return left > 0

    _run_aging(age, seconds=0.1)
    assert others_before_step == [0, 1, 2, 3, 4]
