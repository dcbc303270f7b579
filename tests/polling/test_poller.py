"""The poller, on virtual time: who is asked when, and what becomes of the answers."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason
from evse_mqtt_bridge.polling.poller import Clock, Poller
from tests.harness.samples import NOW, failure, reading
from tests.harness.virtual_time import run

_OK = reading()


@dataclass
class _Cloud:
    """What stations answer and how long it takes; who was asked when, and what was settled."""

    answers: dict[str, Outcome] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    settled: list[tuple[str, Outcome, Moment, float]] = field(default_factory=list)
    consecutive_failures: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    most_under_way: int = 0

    async def fetch(self, uuid: str) -> Outcome:
        self.asked.append((_now(), uuid))
        outcome = self.answers.get(uuid, _OK)  # what is true when the request is made
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds.get(uuid, 0.1))
        finally:
            self.under_way -= 1
        return outcome

    def settle(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> int:
        self.settled.append((uuid, outcome, moment, seconds))
        self.consecutive_failures[uuid] = self.consecutive_failures[uuid] + 1 if isinstance(outcome, Failure) else 0
        return self.consecutive_failures[uuid]

    def times_of(self, uuid: str) -> list[float]:
        return [time for time, asked in self.asked if asked == uuid]

    def gaps_of(self, uuid: str) -> list[float]:
        return [after - before for before, after in pairwise(self.times_of(uuid))]


def _now() -> float:
    """Seconds since the test began."""
    return round(asyncio.get_running_loop().time() - 1000, 6)


@asynccontextmanager
async def _running(cloud: _Cloud, *, concurrency: int = 20, rate: float = 0) -> AsyncIterator[Poller]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time, random.Random(1).random, lambda: NOW)  # noqa: S311  # no secret
    poller = Poller(cloud.fetch, cloud.settle, clock, concurrency=concurrency, rate=rate)
    task = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _poll(
    cloud: _Cloud, stations: dict[str, float], seconds: float, *, concurrency: int = 20, rate: float = 0
) -> _Cloud:
    """Let these stations (uuid: interval) be polled for some time."""

    async def work() -> None:
        async with _running(cloud, concurrency=concurrency, rate=rate) as poller:
            poller.assign(stations)
            await asyncio.sleep(seconds)

    run(work())
    return cloud


def _many(count: int, interval: float = 30) -> dict[str, float]:
    return {f"s{index}": interval for index in range(count)}


# Cadence


def test_each_station_is_asked_at_once_and_then_once_per_interval() -> None:
    cloud = _poll(_Cloud(), _many(10), 3600)
    for uuid in _many(10):
        first, second, *rest = cloud.times_of(uuid)
        assert first == 0
        assert 15 <= second <= 45
        assert rest == pytest.approx([second + 30 * turn for turn in range(1, len(rest) + 1)], abs=1e-3)
        assert 3600 - rest[-1] <= 30


def test_stations_are_spread_over_the_interval() -> None:
    cloud = _poll(_Cloud(), _many(60), 120)
    later = sorted(time for time, _ in cloud.asked if 60 <= time < 90)
    assert len(later) == 60
    assert max(after - before for before, after in pairwise(later)) < 1.5


def test_stations_may_have_intervals_of_their_own() -> None:
    cloud = _poll(_Cloud(), {"quick": 1, "slow": 300}, 3000)
    assert len(cloud.times_of("quick")) == pytest.approx(3000, abs=3)
    assert len(cloud.times_of("slow")) == pytest.approx(10, abs=1)


def test_a_slow_station_is_asked_as_often_as_it_can_answer_and_holds_up_no_other() -> None:
    cloud = _poll(_Cloud(seconds={"s0": 70}), _many(5), 3000, concurrency=2)
    gaps = cloud.gaps_of("s0")[1:]
    assert gaps == pytest.approx([90] * len(gaps), abs=1e-3)
    assert len(gaps) > 30
    for uuid in ("s1", "s2", "s3", "s4"):
        assert len(cloud.times_of(uuid)) >= 99


def test_how_late_it_is_and_how_long_a_request_takes_is_known() -> None:
    cloud = _Cloud(seconds={"s0": 50, "s1": 50})

    async def work() -> None:
        async with _running(cloud, concurrency=1) as poller:
            assert (poller.late, poller.longest) == (0, 0)
            poller.assign(_many(2, interval=200))
            await asyncio.sleep(20)
            assert (poller.longest, poller.late) == pytest.approx((20, 20), abs=0.1), "the other one waits for it"
            await asyncio.sleep(40)
            assert (poller.longest, poller.late) == pytest.approx((10, 0), abs=0.1)
            await asyncio.sleep(45)
            assert (poller.longest, poller.late) == (0, 0)
            poller.hold(1000 + 1000)
            await asyncio.sleep(500)
            assert poller.longest == 0
            assert poller.late > 100, "it is for others to tell that nothing may be asked"
            poller.assign({})
            assert poller.late == 0

    run(work())


def test_what_is_settled_carries_when_and_how_long() -> None:
    cloud = _poll(_Cloud(seconds={"s0": 2.5}), _many(1), 10)
    assert cloud.settled == [("s0", _OK, Moment(1002.5, NOW), 2.5)]


# Bounds


def test_no_more_requests_are_under_way_than_allowed() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(50), 5.0))
    _poll(cloud, _many(50), 300, concurrency=7)
    assert cloud.most_under_way == 7


def test_no_more_requests_are_made_in_a_second_than_allowed() -> None:
    cloud = _poll(_Cloud(), _many(200, 10), 60, concurrency=100, rate=15)
    times = [time for time, _ in cloud.asked]
    for index, time in enumerate(times):
        assert sum(1 for later in times[index:] if later < time + 1) <= 15 + 3
    assert len(times) == pytest.approx(60 * 15, rel=0.02), "and no fewer"
    assert set(Counter(uuid for _, uuid in cloud.asked)) == set(_many(200)), "everybody gets a turn"


def test_a_cloud_that_asks_to_wait_is_asked_nothing_meanwhile() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(20), 1.0))
    cloud.answers["s3"] = Failure(Reason.RATE_LIMITED, retry_after=600)

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(20))
            await asyncio.sleep(300)
            del cloud.answers["s3"]
            await asyncio.sleep(400)

    run(work())
    times = [time for time, _ in cloud.asked]
    assert not [time for time in times if 1 < time < 601]
    assert len([time for time in times if 601 <= time <= 631]) >= 20, "then all go on"


# Failures


def test_a_failing_station_is_asked_less_and_less_and_the_others_keep_their_cadence() -> None:
    cloud = _Cloud(answers={"s0": failure(Reason.SERVER_ERROR), "s1": failure(Reason.UNAUTHORIZED)})
    _poll(cloud, _many(5), 24 * 3600)
    assert 24 * 12 <= len(cloud.times_of("s0")) <= 24 * 3600 / 150 * 1.5, "about every 150 s, at most 300 s apart"
    assert min(cloud.gaps_of("s0")) >= 1
    assert max(cloud.gaps_of("s0")) <= 301
    assert min(cloud.gaps_of("s1")) >= 810
    assert max(cloud.gaps_of("s1")) <= 991
    assert len(cloud.times_of("s2")) == pytest.approx(24 * 120, abs=2)


def test_a_station_that_is_back_returns_to_its_grid() -> None:
    cloud = _Cloud(answers={"s0": failure(Reason.UNREACHABLE)})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(1))
            await asyncio.sleep(1000)
            cloud.answers.clear()
            await asyncio.sleep(1000)

    run(work())
    assert cloud.gaps_of("s0")[-10:] == pytest.approx([30] * 10, abs=1e-3)


@pytest.mark.parametrize("part", ["fetch", "settle"])
def test_a_bug_ends_the_poller_loudly(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> int:
        raise ZeroDivisionError

    async def work() -> None:
        cloud = _Cloud()
        monkeypatch.setattr(cloud, part, bug)
        poller = Poller(cloud.fetch, cloud.settle, Clock(asyncio.get_running_loop().time, lambda: 0.5), 3, 0)
        poller.assign(_many(2))
        await poller.run()

    with pytest.raises(ExceptionGroup) as raised:
        run(work())
    assert raised.group_contains(ZeroDivisionError)


# Stations that come, change and go


def test_stations_join_leave_and_change_while_the_others_are_undisturbed() -> None:
    cloud = _Cloud()
    undisturbed = _poll(_Cloud(), {"s0": 30, "s1": 30}, 1000).times_of("s0")

    async def work() -> None:
        async with _running(cloud) as poller:
            await asyncio.sleep(0)
            poller.assign({"s0": 30, "s1": 30})
            await asyncio.sleep(100)
            poller.assign({"s0": 30, "s1": 7, "s2": 30})
            await asyncio.sleep(100)
            poller.assign({"s0": 30, "s2": 30}, at_once=frozenset({"s2"}))
            await asyncio.sleep(800)

    run(work())
    assert cloud.times_of("s0") == undisturbed
    changed = [time for time in cloud.times_of("s1") if time >= 100]
    assert changed[0] == 100
    assert len(changed) == pytest.approx(100 / 7, abs=1)
    assert max(changed) < 200, "it went"
    assert cloud.times_of("s2")[0] == 100
    assert 200 in cloud.times_of("s2")


def test_an_idle_poller_starts_as_soon_as_it_has_a_station() -> None:
    cloud = _Cloud()

    async def work() -> None:
        async with _running(cloud) as poller:
            await asyncio.sleep(50)
            poller.assign({"s0": 1000})
            await asyncio.sleep(1)

    run(work())
    assert cloud.asked == [(50, "s0")]


def test_the_answer_to_a_station_that_went_meanwhile_is_dropped() -> None:
    cloud = _Cloud(seconds={"s0": 5})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign({"s0": 30, "s1": 30})
            await asyncio.sleep(2)
            poller.assign({"s1": 30})
            await asyncio.sleep(100)

    run(work())
    assert cloud.times_of("s0") == [0]
    assert "s0" not in {uuid for uuid, *_ in cloud.settled}


@pytest.mark.parametrize("how", ["another token", "gone and back"])
def test_the_answer_to_a_request_that_was_replaced_meanwhile_is_dropped(how: str) -> None:
    """The old token's rejection arrives after the new one's welcome: it must not stop the station for 15 minutes."""
    cloud = _Cloud(answers={"s0": failure(Reason.UNAUTHORIZED)}, seconds={"s0": 5})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign({"s0": 30})
            await asyncio.sleep(2)
            cloud.answers["s0"], cloud.seconds["s0"] = _OK, 1
            if how == "gone and back":
                poller.assign({})
            poller.assign({"s0": 30}, at_once=frozenset({"s0"}))
            await asyncio.sleep(100)

    run(work())
    assert {outcome for _, outcome, *_ in cloud.settled} == {_OK}
    assert cloud.times_of("s0")[:2] == [0, 2]
    assert len(cloud.times_of("s0")) == pytest.approx(5, abs=1)


def test_a_cancelled_poller_leaves_no_request_under_way() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(5), 60.0))
    _poll(cloud, _many(5), 10)
    assert (len(cloud.asked), cloud.under_way, cloud.settled) == (5, 0, [])


@pytest.mark.parametrize("goes_at", [2, 10])
def test_a_wait_holds_for_all_when_the_station_that_was_told_to_goes(goes_at: int) -> None:
    told = replace(failure(Reason.RATE_LIMITED), retry_after=100)
    cloud = _Cloud(answers={"s0": told}, seconds=dict.fromkeys(_many(3), 5.0))

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(3))
            await asyncio.sleep(goes_at)
            poller.assign({"s1": 30, "s2": 30})
            await asyncio.sleep(200)

    run(work())
    assert not [time for time, _ in cloud.asked if 5 <= time < 105]
    assert [time for time, _ in cloud.asked if time >= 105]
