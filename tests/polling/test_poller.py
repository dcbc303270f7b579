"""The poller on virtual time: when it polls stations, and how it handles outcomes."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from evse_mqtt_bridge.domain.availability import Moment, Rules, advance
from evse_mqtt_bridge.domain.model import Attribution, Failure, Outcome, Reason, StationState
from evse_mqtt_bridge.polling.poller import Clock, Poller
from tests.harness.samples import NOW, failure, reading, rejection
from tests.harness.virtual_time import run

_OK = reading()


@dataclass
class _Cloud:
    """Answers polls.

    Attributes:
        answers: Outcome by station, a valid reading by default.
        seconds: Duration of a request by station, 0.1 s by default.
        requests: Time and station of each request.
        results: The outcomes that the poller reported.
        states: The state of each station after its last poll.
        reported: When each station became unavailable.
    """

    answers: dict[str, Outcome] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    requests: list[tuple[float, str]] = field(default_factory=list)
    results: list[tuple[str, Outcome, Moment, float]] = field(default_factory=list)
    states: defaultdict[str, StationState] = field(default_factory=lambda: defaultdict(StationState))
    reported: dict[str, float] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0

    async def fetch(self, uuid: str) -> Outcome:
        self.requests.append((_now(), uuid))
        outcome = self.answers.get(uuid, _OK)  # the response at the start of the request
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.seconds.get(uuid, 0.1))
        finally:
            self.running -= 1
        return outcome

    def on_result(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> StationState:
        self.results.append((uuid, outcome, moment, seconds))
        self.states[uuid] = state = advance(self.states[uuid], outcome, Rules(stale_after=0), moment)
        if state.reason not in (None, Reason.ONLINE):
            self.reported.setdefault(uuid, _now())
        return state

    def times_of(self, uuid: str) -> list[float]:
        return [time for time, polled in self.requests if polled == uuid]

    def gaps_of(self, uuid: str) -> list[float]:
        return [after - before for before, after in pairwise(self.times_of(uuid))]


def _now() -> float:
    """Return the seconds since the start of the test."""
    return round(asyncio.get_running_loop().time() - 1000, 6)


@asynccontextmanager
async def _running(cloud: _Cloud, *, concurrency: int = 20, rate: float = 0) -> AsyncIterator[Poller]:
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time, random.Random(1).random, lambda: NOW)  # noqa: S311  # not for security
    poller = Poller(cloud.fetch, cloud.on_result, clock, concurrency=concurrency, rate=rate)
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
    """Poll these stations (uuid: interval) for `seconds`."""

    async def work() -> None:
        async with _running(cloud, concurrency=concurrency, rate=rate) as poller:
            poller.assign(stations)
            await asyncio.sleep(seconds)

    run(work())
    return cloud


def _many(count: int, interval: float = 30) -> dict[str, float]:
    return {f"s{index}": interval for index in range(count)}


# Cadence


def test_poller_polls_at_once_then_once_per_interval() -> None:
    cloud = _poll(_Cloud(), _many(10), 3600)
    for uuid in _many(10):
        first, second, *rest = cloud.times_of(uuid)
        assert first == 0
        assert 15 <= second <= 45
        assert rest == pytest.approx([second + 30 * number for number in range(1, len(rest) + 1)], abs=1e-3)
        assert 3600 - rest[-1] <= 30


def test_poller_spreads_stations_over_the_interval() -> None:
    cloud = _poll(_Cloud(), _many(60), 120)
    later = sorted(time for time, _ in cloud.requests if 60 <= time < 90)
    assert len(later) == 60
    assert max(after - before for before, after in pairwise(later)) < 1.5


@pytest.mark.parametrize(("interval", "pause"), [(1, 0.02), (6, 0.03), (10, 0.05), (40, 0.05)])
def test_polls_share_wake_ups_by_the_shortest_interval(interval: float, pause: float) -> None:
    stations = {**_many(round(100 * interval), interval), "slow": 300}
    cloud = _poll(_Cloud(), stations, 4 * interval, concurrency=50)
    wake_ups = sorted({time for time, _ in cloud.requests if time > 2 * interval})
    assert len(wake_ups) > 0.5 * interval / pause
    assert min(after - before for before, after in pairwise(wake_ups)) >= pause - 1e-6
    for uuid in _many(20):
        gaps = cloud.gaps_of(uuid)[1:]
        assert gaps == pytest.approx([interval] * len(gaps), abs=pause + 1e-6)


def test_polls_of_a_wake_up_start_one_per_iteration() -> None:
    class Cloud(_Cloud):
        started = 0
        per_iteration: list[int] = []  # noqa: RUF012  # one object

        async def fetch(self, uuid: str) -> Outcome:
            self.started += 1
            if self.started == 1:
                asyncio.get_running_loop().call_soon(self.end_iteration)
            return await super().fetch(uuid)

        def end_iteration(self) -> None:
            self.per_iteration.append(self.started)
            self.started = 0

    stations = _many(1000, interval=1)
    cloud = Cloud(seconds=dict.fromkeys(stations, 0.001))
    _poll(cloud, stations, 3, concurrency=50)
    calm = cloud.per_iteration[-100:]
    assert max(calm) == 1
    assert len(cloud.requests) >= 3000


def test_poller_uses_interval_of_each_station() -> None:
    cloud = _poll(_Cloud(), {"quick": 1, "slow": 300}, 3000)
    assert len(cloud.times_of("quick")) == pytest.approx(3000, abs=3)
    assert len(cloud.times_of("slow")) == pytest.approx(10, abs=1)


def test_slow_station_delays_no_other() -> None:
    cloud = _poll(_Cloud(seconds={"s0": 70}), _many(5), 3000, concurrency=2)
    gaps = cloud.gaps_of("s0")[1:]
    assert gaps == pytest.approx([90] * len(gaps), abs=1e-3)
    assert len(gaps) > 30
    for uuid in ("s1", "s2", "s3", "s4"):
        assert len(cloud.times_of(uuid)) >= 99


def test_late_and_longest_report_current_delays() -> None:
    cloud = _Cloud(seconds={"s0": 50, "s1": 50})

    async def work() -> None:
        async with _running(cloud, concurrency=1) as poller:
            assert (poller.delay, poller.oldest_request_age) == (0, 0)
            poller.assign(_many(2, interval=200))
            await asyncio.sleep(20)
            assert (poller.oldest_request_age, poller.delay) == pytest.approx((20, 20), abs=0.1), "the other poll waits"
            await asyncio.sleep(40)
            assert (poller.oldest_request_age, poller.delay) == pytest.approx((10, 0), abs=0.1)
            await asyncio.sleep(45)
            assert (poller.oldest_request_age, poller.delay) == (0, 0)
            poller.hold(1000 + 1000)
            await asyncio.sleep(500)
            assert poller.oldest_request_age == 0
            assert poller.delay > 100, "a hold does not hide the delay"
            poller.assign({})
            assert poller.delay == 0

    run(work())


def test_on_result_receives_moment_and_duration() -> None:
    cloud = _poll(_Cloud(seconds={"s0": 2.5}), _many(1), 10)
    assert cloud.results == [("s0", _OK, Moment(1002.5, NOW), 2.5)]


# Bounds


def test_concurrency_limits_running_requests() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(50), 5.0))
    _poll(cloud, _many(50), 300, concurrency=7)
    assert cloud.most_running == 7


def test_rate_limits_requests_per_second() -> None:
    cloud = _poll(_Cloud(), _many(200, 10), 60, concurrency=100, rate=15)
    times = [time for time, _ in cloud.requests]
    for index, time in enumerate(times):
        assert sum(1 for later in times[index:] if later < time + 1) <= 15 + 3
    assert len(times) == pytest.approx(60 * 15, rel=0.02), "the full rate is used"
    assert set(Counter(uuid for _, uuid in cloud.requests)) == set(_many(200)), "every station is polled"


def test_retry_after_pauses_all_stations() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(20), 1.0))
    cloud.answers["s3"] = Failure(Reason.RATE_LIMITED, retry_after=600)

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(20))
            await asyncio.sleep(300)
            del cloud.answers["s3"]
            await asyncio.sleep(400)

    run(work())
    times = [time for time, _ in cloud.requests]
    assert not [time for time in times if 1 < time < 601]
    assert len([time for time in times if 601 <= time <= 631]) >= 20, "then all stations are polled"


# Failures


def test_failing_station_backs_off_and_others_continue() -> None:
    cloud = _Cloud(answers={"s0": failure(Reason.SERVER_ERROR), "s1": rejection(attribution=Attribution.STATION)})
    _poll(cloud, _many(5), 24 * 3600)
    assert 24 * 12 <= len(cloud.times_of("s0")) <= 24 * 3600 / 150 * 1.5, "about every 150 s, at most 300 s apart"
    assert min(cloud.gaps_of("s0")) >= 1
    assert max(cloud.gaps_of("s0")) <= 301
    expected = [min(900, 30 * 2**probe) for probe in range(len(cloud.gaps_of("s1")))]
    assert cloud.gaps_of("s1") == pytest.approx(expected, rel=0.11)
    assert len(cloud.times_of("s2")) == pytest.approx(24 * 120, abs=2)


def test_recovered_station_returns_to_its_grid() -> None:
    cloud = _Cloud(answers={"s0": failure(Reason.UNREACHABLE)})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(1))
            await asyncio.sleep(1000)
            cloud.answers.clear()
            await asyncio.sleep(1000)

    run(work())
    assert cloud.gaps_of("s0")[-10:] == pytest.approx([30] * 10, abs=1e-3)


@pytest.mark.parametrize("callback", ["fetch", "on_result"])
def test_exception_in_callback_ends_the_poller(callback: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> StationState:
        raise ZeroDivisionError

    async def work() -> None:
        cloud = _Cloud()
        monkeypatch.setattr(cloud, callback, bug)
        poller = Poller(cloud.fetch, cloud.on_result, Clock(asyncio.get_running_loop().time, lambda: 0.5), 3, 0)
        poller.assign(_many(2))
        await poller.run()

    with pytest.raises(ExceptionGroup) as raised:
        run(work())
    assert raised.group_contains(ZeroDivisionError)


# Recovery


def _recovery(
    count: int, outage: float, *, interval: float = 30, rate: float = 50, outcome: Outcome | None = None
) -> tuple[list[float], list[float]]:
    """Let all stations fail for `outage` seconds.

    Returns:
        When each station is answered for the first time after the outage, in seconds since its end, and the times of
        all requests after it.
    """
    cloud = _Cloud()
    fails = outcome or failure(Reason.UNREACHABLE)

    async def work() -> None:
        async with _running(cloud, rate=rate) as poller:
            poller.assign(_many(count, interval))
            await asyncio.sleep(300)
            cloud.answers.update(dict.fromkeys(_many(count), fails))
            await asyncio.sleep(outage)
            cloud.answers.clear()
            await asyncio.sleep(600)

    run(work())
    end = 300 + outage
    answered = [min(time for time in cloud.times_of(uuid) if time >= end) - end for uuid in _many(count)]
    return answered, [time - end for time, _ in cloud.requests if time >= end]


@pytest.mark.parametrize(
    ("count", "outage", "interval"), [(1, 180, 5), (3, 180, 5), (3, 7200, 5), (20, 7200, 30), (400, 1800, 60)]
)
def test_stations_are_back_within_90_seconds(count: int, outage: float, interval: float) -> None:
    answered, _ = _recovery(count, outage, interval=interval)
    assert max(answered) <= 90


def test_rejected_stations_are_back_within_90_seconds() -> None:
    answered, _ = _recovery(3, 7200, outcome=rejection(attribution=Attribution.CLOUD))
    assert max(answered) <= 90


def test_recovery_of_many_stations_uses_half_of_the_rate() -> None:
    answered, requests = _recovery(400, 900, interval=60, rate=10)
    assert max(answered) - min(answered) <= 2 * 400 / 10 + 5
    for start in range(0, 120, 10):
        assert sum(start <= time < start + 10 for time in requests) <= 10 * 10 + 5


def test_outage_of_all_stations_bounds_the_requests() -> None:
    cloud = _Cloud(answers=dict.fromkeys(_many(400), failure(Reason.UNREACHABLE)))
    _poll(cloud, _many(400), 2700, rate=50)
    later = [time for time, _ in cloud.requests if time > 1800]
    assert len(later) < 400 * 900 / 150 * 1.3


def test_rejected_token_of_the_only_station_is_probed_rarely() -> None:
    """That no station answers does not mean that the cloud fails."""
    cloud = _poll(_Cloud(answers={"s0": rejection(attribution=Attribution.STATION)}), _many(1), 4 * 3600)
    gaps = cloud.gaps_of("s0")
    assert gaps == pytest.approx([min(900, 30 * 2**probe) for probe in range(len(gaps))], rel=0.11)


def test_rejected_token_is_not_polled_on_recovery() -> None:
    cloud = _Cloud(answers={"s0": rejection(attribution=Attribution.STATION)})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(5))
            await asyncio.sleep(3600)
            others = {f"s{number}": failure(Reason.UNREACHABLE) for number in range(1, 5)}
            for _ in range(20):
                cloud.answers.update(others)
                await asyncio.sleep(300)
                for uuid in others:
                    del cloud.answers[uuid]
                await asyncio.sleep(300)

    run(work())
    assert min(cloud.gaps_of("s0")[6:]) >= 810


@pytest.mark.parametrize(("attribution", "polls"), [(Attribution.CLOUD, 2), (Attribution.UNDECIDED, 1)])
def test_first_answer_after_the_start_shortens_waits(attribution: Attribution, polls: int) -> None:
    """The cloud may have failed for the station in the last moment of an outage."""
    cloud = _Cloud(answers={"s0": rejection(attribution=attribution)}, seconds={"s1": 1.0})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(2))
            await asyncio.sleep(10)

    run(work())
    assert len(cloud.times_of("s0")) == polls


def test_flapping_station_causes_few_polls_of_dead_ones() -> None:
    dead = {f"s{number}": failure(Reason.UNREACHABLE) for number in range(2, 20)}
    cloud = _Cloud(answers=dict(dead))

    async def work() -> None:
        async with _running(cloud, rate=50) as poller:
            poller.assign(_many(20, interval=5))
            for _ in range(200):
                await asyncio.sleep(20)
                cloud.answers["s1"] = failure(Reason.UNREACHABLE)
                await asyncio.sleep(20)
                del cloud.answers["s1"]

    run(work())
    for uuid in dead:
        assert len(cloud.times_of(uuid)) <= 8000 / 60 * 1.5


def test_next_poll_is_known_except_during_a_request() -> None:
    cloud = _Cloud(answers={"s0": failure(Reason.UNREACHABLE)}, seconds={"s1": 5})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(2))
            assert poller.next_poll("s0") == 1000
            await asyncio.sleep(1)
            waits = poller.next_poll("s0")
            assert waits is not None
            assert 1001 < waits <= 1031
            assert poller.next_poll("s1") is None
            poller.hold(5000)
            assert poller.next_poll("s0") == 5000
            assert poller.next_poll("s2") is None

    run(work())


# Stations that hang


def _hang(cloud: _Cloud, stations: set[str]) -> None:
    """Let these stations accept requests and not answer within the default timeout."""
    for uuid in stations:
        cloud.answers[uuid] = failure(Reason.UNREACHABLE)
        cloud.seconds[uuid] = 10.0


def _shuffled(count: int) -> list[str]:
    stations = list(_many(count))
    random.Random(2).shuffle(stations)  # noqa: S311  # not for security
    return stations


@pytest.mark.parametrize(("count", "hanging"), [(400, 200), (400, 390), (1000, 900)])
def test_answering_stations_keep_their_cadence(count: int, hanging: int) -> None:
    """They hang from the start; the others are polled within 10 % of the interval at every time."""
    stations = _shuffled(count)
    cloud = _Cloud()
    _hang(cloud, set(stations[:hanging]))
    _poll(cloud, dict.fromkeys(sorted(stations), 30.0), 1800, rate=50)
    for uuid in stations[hanging:]:
        later = cloud.gaps_of(uuid)[1:]  # the first gap leads to the station's grid
        assert len(later) > 30
        assert max(later) <= 33
        assert min(later) >= 27
    assert 15 < cloud.most_running <= 20


def test_first_dead_station_is_reported_soon() -> None:
    """Half of the stations begin to hang at the same time, and use every slot at first."""
    stations = _shuffled(400)
    cloud, dead = _Cloud(), set(stations[:200])

    async def work() -> None:
        async with _running(cloud, rate=50) as poller:
            poller.assign(dict.fromkeys(sorted(stations), 30.0))
            await asyncio.sleep(300)
            _hang(cloud, dead)
            await asyncio.sleep(1200)

    run(work())
    assert cloud.reported.keys() == dead
    assert min(cloud.reported.values()) < 300 + 90
    assert max(cloud.reported.values()) < 300 + 600
    for uuid in stations[200:]:
        times = [time for time in cloud.times_of(uuid) if time > 300 + 150]
        assert max(after - before for before, after in pairwise(times)) <= 33


def test_newly_hanging_station_is_reported_among_dead_ones() -> None:
    """A thousand stations that are unavailable already do not delay the decision about another one."""
    stations = _shuffled(1020)
    cloud = _Cloud()
    _hang(cloud, set(stations[20:]))

    async def work() -> None:
        async with _running(cloud, rate=50) as poller:
            poller.assign(dict.fromkeys(stations, 30.0))
            await asyncio.sleep(6000)
            assert len(cloud.reported) == 1000
            _hang(cloud, {stations[0]})
            await asyncio.sleep(180)

    run(work())
    assert cloud.reported[stations[0]] <= 6000 + 180


def test_every_station_is_polled_if_there_are_too_many() -> None:
    """The limits allow less than half of the polls; no group is left out."""
    cloud = _Cloud(answers={f"s{number}": failure(Reason.UNREACHABLE) for number in range(0, 100, 4)})

    async def work() -> None:
        async with _running(cloud, concurrency=2, rate=4) as poller:
            poller.assign(_many(100, interval=10))
            await asyncio.sleep(600)
            poller.assign(_many(120, interval=10))
            await asyncio.sleep(600)

    run(work())
    assert {len(cloud.times_of(uuid)) > 3 for uuid in _many(120)} == {True}
    later = [max(cloud.gaps_of(uuid)) for uuid in _many(120)]
    assert max(later) < 400


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_few_slots_serve_hanging_and_answering_stations(concurrency: int) -> None:
    cloud = _Cloud()
    _hang(cloud, {"s0"})
    _poll(cloud, _many(3), 3600, concurrency=concurrency)
    assert "s0" in cloud.reported
    assert len(cloud.times_of("s0")) > 12
    limit = 30 + (11 if concurrency == 1 else 0.1)
    for uuid in ("s1", "s2"):
        assert max(cloud.gaps_of(uuid)[1:]) <= limit


def test_delay_ignores_queued_unavailable_stations() -> None:
    """While they use their slots, their wait does not mean that the limits are too low."""
    cloud = _Cloud()
    _hang(cloud, set(_many(300)))

    async def work() -> None:
        async with _running(cloud, rate=50) as poller:
            poller.assign(_many(310))
            await asyncio.sleep(3600)
            assert len(cloud.reported) == 300
            assert poller.delay < 1

    run(work())


# Added, changed and removed stations


def test_assign_changes_do_not_affect_other_stations() -> None:
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
    assert max(changed) < 200, "the station was removed"
    assert cloud.times_of("s2")[0] == 100
    assert 200 in cloud.times_of("s2")


def test_station_removed_after_its_poll_was_assigned_is_skipped() -> None:
    """Both polls are assigned to workers at the same time; the first one leads to the removal of the other station."""
    polled = []

    async def work() -> None:
        async def fetch(uuid: str) -> Outcome:
            polled.append(uuid)
            poller.assign({uuid: 30})
            return _OK

        async with _running(_Cloud()) as poller:
            poller.fetch = fetch
            await asyncio.sleep(1)
            poller.assign({"s0": 30, "s1": 30})
            await asyncio.sleep(100)

    run(work())
    assert len(set(polled)) == 1
    assert len(polled) > 2


def test_assign_first_station_starts_idle_poller() -> None:
    cloud = _Cloud()

    async def work() -> None:
        async with _running(cloud) as poller:
            await asyncio.sleep(50)
            poller.assign({"s0": 1000})
            await asyncio.sleep(1)

    run(work())
    assert cloud.requests == [(50, "s0")]


def test_result_of_removed_station_is_ignored() -> None:
    cloud = _Cloud(seconds={"s0": 5})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign({"s0": 30, "s1": 30})
            await asyncio.sleep(2)
            poller.assign({"s1": 30})
            await asyncio.sleep(100)

    run(work())
    assert cloud.times_of("s0") == [0]
    assert "s0" not in {uuid for uuid, *_ in cloud.results}


@pytest.mark.parametrize("change", ["another token", "removed and added"])
def test_result_of_replaced_request_is_ignored(change: str) -> None:
    """A late rejection of the old token must not delay the station."""
    cloud = _Cloud(answers={"s0": rejection(attribution=Attribution.STATION)}, seconds={"s0": 5})

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign({"s0": 30})
            await asyncio.sleep(2)
            cloud.answers["s0"], cloud.seconds["s0"] = _OK, 1
            if change == "removed and added":
                poller.assign({})
            poller.assign({"s0": 30}, at_once=frozenset({"s0"}))
            await asyncio.sleep(100)

    run(work())
    assert {outcome for _, outcome, *_ in cloud.results} == {_OK}
    assert cloud.times_of("s0")[:2] == [0, 2]
    assert len(cloud.times_of("s0")) == pytest.approx(5, abs=1)


def test_cancelled_poller_cancels_running_requests() -> None:
    cloud = _Cloud(seconds=dict.fromkeys(_many(5), 60.0))
    _poll(cloud, _many(5), 10)
    assert (len(cloud.requests), cloud.running, cloud.results) == (5, 0, [])


@pytest.mark.parametrize("iterations", range(6))
def test_poller_stopped_while_it_assigns_polls_reports_no_error(iterations: int) -> None:
    errors: list[dict[str, object]] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        async with _running(_Cloud(), concurrency=10) as poller:
            await asyncio.sleep(1)  # the workers are idle
            poller.assign(_many(20))
            for _ in range(iterations):
                await asyncio.sleep(0)

    run(work())
    assert not errors


@pytest.mark.parametrize("removed_at", [2, 10])
def test_retry_after_applies_after_removal_of_its_station(removed_at: int) -> None:
    rate_limited = replace(failure(Reason.RATE_LIMITED), retry_after=100)
    cloud = _Cloud(answers={"s0": rate_limited}, seconds=dict.fromkeys(_many(3), 5.0))

    async def work() -> None:
        async with _running(cloud) as poller:
            poller.assign(_many(3))
            await asyncio.sleep(removed_at)
            poller.assign({"s1": 30, "s2": 30})
            await asyncio.sleep(200)

    run(work())
    assert not [time for time, _ in cloud.requests if 5 <= time < 105]
    assert [time for time, _ in cloud.requests if time >= 105]
