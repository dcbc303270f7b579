"""When the meters of a station start, and from which records: nothing is lost, and no counter jumps or goes back."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.events import MetersStarted
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.meter_start import BROKER_LIMIT, HISTORY_LIMIT
from evse_mqtt_bridge.domain.model import PlugReading, Station
from evse_mqtt_bridge.domain.sessions import Session, SessionEvent
from evse_mqtt_bridge.domain.stations import Stations
from tests.harness.samples import NOW, at, plug_reading, reading

_STATION = {"s1": Station("s1", 30)}
_POWER = 7200.0  # 2 Wh per second


def _record(charged: float, second: float, **fields: Any) -> Mapping[str, Mapping[str, Meter]]:  # noqa: ANN401  # of any field
    """Return the record of a plug that charged until a second."""
    counted = PlugReading("p1", status="charging", power=_POWER, time=NOW + timedelta(seconds=second))
    meter = Meter(charged, counted=counted, session=Session(NOW, is_start_known=True, charged=charged))
    return {"s1": {"p1": meter._replace(**fields)}}


class _Bridge:
    """The states of one station, from second 0 on."""

    def __init__(self, *, with_history: bool = True) -> None:
        self.stations = Stations(_STATION, Rules(), started=at(0).monotonic)
        self.events: list[MetersStarted] = []
        if with_history:
            self.stations.expect_history(["s1"])

    def poll(self, second: float, status: str = "charging", power: float = _POWER) -> Meter | None:
        """Poll the plug, and let time pass; return its meter."""
        measured = plug_reading(status=status, power=power, time=NOW + timedelta(seconds=second))
        self.stations.apply_outcome("s1", reading(measured), at(second), 0.1)
        self.wait(second)
        return self.meter

    def wait(self, second: float) -> None:
        """Let time pass until a second."""
        self.events += [each for each in self.stations.age(at(second), 100) if isinstance(each, MetersStarted)]

    def read_broker(self, record: Mapping[str, Mapping[str, Meter]], *, is_complete: bool = True) -> None:
        """Read the broker at the start of a connection."""
        self.stations.restore_plugs("s1", {"p1": None} if record else {})
        self.stations.broker_read(record, ["s1"], is_complete=is_complete)

    @property
    def meter(self) -> Meter | None:
        """The meter of the plug."""
        plug = self.stations.state("s1").plugs.get("p1")
        return plug.meter if plug else None

    @property
    def charged(self) -> float | None:
        """The energy of the plug in Wh; `None` before the meter starts."""
        return self.meter.charged if self.meter else None

    @property
    def unrecorded(self) -> list[Session]:
        """The sessions that the history may lack."""
        return [each for event in self.events for sessions in event.unrecorded.values() for each in sessions]

    @property
    def at_zero(self) -> int:
        """The number of meters that started at 0."""
        return sum(event.at_zero for event in self.events)


def test_record_on_the_broker_starts_the_meter_at_once() -> None:
    bridge = _Bridge()
    bridge.read_broker(_record(1000.0, -20))
    assert bridge.poll(10) is not None
    assert bridge.charged == 1060.0
    bridge.stations.history_read(["s1"], _record(980.0, -30))
    assert bridge.charged == 1060.0
    assert not bridge.at_zero


def test_larger_record_of_the_history_counts() -> None:
    bridge = _Bridge()
    bridge.stations.history_read(["s1"], _record(5000.0, -30))
    bridge.read_broker(_record(1000.0, -20))  # a broker with an old copy of its retained messages
    bridge.poll(10)
    assert bridge.charged == 5060.0


@pytest.mark.parametrize("is_read_first", [True, False])
def test_newer_record_decides_about_the_session(*, is_read_first: bool) -> None:
    ended = Session(NOW, is_start_known=True, charged=1000.0, ended=NOW + timedelta(seconds=5))
    bridge = _Bridge()
    if is_read_first:
        bridge.stations.history_read(["s1"], _record(990.0, 0))
        bridge.poll(20, "connected", 0.0)  # another vehicle
    left = PlugReading("p1", status="idle", power=0.0, time=NOW + timedelta(seconds=5))
    bridge.read_broker(_record(1000.0, 5, session=None, last_session=ended, counted=left))
    meter = bridge.poll(30, "connected", 0.0)
    assert meter is not None
    assert meter.last_session == ended
    assert meter.session is not None
    assert meter.session.started > NOW + timedelta(seconds=5), "a session of its own"
    assert meter.session.charged == 0.0


def test_broker_without_a_record_waits_for_the_history() -> None:
    bridge = _Bridge()
    bridge.read_broker({})
    for second in range(0, 60, 20):
        assert bridge.poll(second) is None, "a start at 0 would go back"
    bridge.stations.history_read(["s1"], _record(1000.0, -20))
    meter = bridge.poll(60)
    assert meter is not None
    assert meter.charged == 1160.0
    assert meter.gap == 0.0
    assert not bridge.at_zero


def _charge_twice(bridge: _Bridge) -> None:
    """Two vehicles come and go, after one whose session the record has."""
    for second, status in enumerate(("charging", "idle", "charging", "charging", "idle", "connected", "idle")):
        assert bridge.poll(10.0 * second, status, _POWER if status == "charging" else 0.0) is None


@pytest.mark.parametrize("is_history_late", [True, False])
def test_sessions_of_the_wait_are_recorded_and_published(*, is_history_late: bool) -> None:
    bridge = _Bridge()
    if is_history_late:
        bridge.read_broker({})
    _charge_twice(bridge)
    if is_history_late:
        bridge.stations.history_read(["s1"], _record(1000.0, -20))
    else:
        bridge.read_broker(_record(1000.0, -20))
    bridge.wait(61)
    meter = bridge.meter
    assert meter is not None
    # 40 Wh to second 0; then 10 Wh on the way down, 10 Wh on the way up, 20 Wh, and 10 Wh on the way down
    assert (meter.charged, meter.gap, meter.session) == (1090.0, 0.0, None)
    recorded = bridge.unrecorded
    started = [NOW + timedelta(seconds=second) for second in (0, 20, 50)]
    assert [session.started for session in recorded] == started
    assert [session.charged for session in recorded] == [1050.0, 40.0, 0.0]
    assert meter.last_session == recorded[-1]
    [(before, after)] = [each for event in bridge.events for each in event.counted.values()]
    assert (before.charged, after) == (1000.0, meter)
    assert not bridge.stations.pop_session_changes(["s2"]), "of another shard"
    events = bridge.stations.pop_session_changes(["s1"])["s1"]["p1"]
    kinds = (SessionEvent.STARTED, SessionEvent.ENDED)
    assert [change.event for change in events if change.event in kinds] == [SessionEvent.ENDED, *kinds, *kinds]


@pytest.mark.parametrize(("offline_at", "charged", "gap"), [(0, 1040.0, 30.0), (20, 1060.0, 20.0), (30, 1080.0, 0.0)])
def test_outage_during_the_wait_is_a_gap(offline_at: float, charged: float, gap: float) -> None:
    bridge = _Bridge()
    bridge.read_broker({})
    for second in (0.0, 10.0, 20.0, 30.0):
        bridge.poll(second, "offline" if second == offline_at else "charging")
    bridge.stations.history_read(["s1"], _record(1000.0, -20))
    meter = bridge.meter
    assert meter is not None
    assert (meter.charged, meter.gap, meter.is_interrupted) == (charged, gap, offline_at == 30)


def test_record_of_a_later_time_counts_nothing_twice() -> None:
    """The measurement of the bridge is older than the record, so only the last one is counted."""
    bridge = _Bridge()
    bridge.poll(0)
    bridge.poll(30)
    bridge.read_broker(_record(1000.0, 20))
    assert bridge.charged == 1020.0


def test_history_that_never_answers_starts_a_new_cycle() -> None:
    bridge = _Bridge()
    bridge.read_broker({})
    bridge.wait(0)
    bridge.poll(HISTORY_LIMIT - 1)
    assert bridge.meter is None
    bridge.poll(HISTORY_LIMIT + 9)
    bridge.poll(HISTORY_LIMIT + 19)
    assert bridge.charged == 40.0, "counted from the first measurement"
    assert bridge.at_zero == 1
    bridge.stations.history_read(["s1"], _record(1_000_000.0, -20))
    assert bridge.charged == 40.0, "a jump would look like energy"


def test_new_plug_starts_at_zero_once_both_are_read() -> None:
    bridge = _Bridge()
    bridge.read_broker({})
    bridge.stations.history_read(["s1"], {})
    bridge.poll(0)
    bridge.poll(10)
    assert (bridge.charged, bridge.at_zero) == (20.0, 1)


def test_unreachable_broker_leaves_the_history_to_start_from() -> None:
    bridge = _Bridge()
    bridge.stations.history_read(["s1"], _record(1000.0, -30))
    bridge.poll(BROKER_LIMIT - 1)
    assert bridge.meter is None, "the broker may have a newer record"
    bridge.wait(BROKER_LIMIT)
    bridge.poll(BROKER_LIMIT + 9)
    assert bridge.charged == 1000.0 + 2 * (BROKER_LIMIT + 9 + 30)
    bridge.read_broker(_record(1020.0, -20))
    assert bridge.charged == 1000.0 + 2 * (BROKER_LIMIT + 9 + 30), "the larger counts"


def test_late_history_is_a_start_without_the_broker() -> None:
    bridge = _Bridge()
    bridge.poll(BROKER_LIMIT + 10)
    assert bridge.meter is None
    bridge.stations.history_read(["s1"], _record(1000.0, -30))
    bridge.wait(BROKER_LIMIT + 11)
    assert bridge.meter is not None


def test_unreachable_broker_without_history_starts_no_meter_yet() -> None:
    bridge = _Bridge(with_history=False)
    bridge.poll(HISTORY_LIMIT + 100)
    assert bridge.meter is None
    bridge.read_broker(_record(1000.0, HISTORY_LIMIT + 50))
    assert bridge.charged == 1100.0


def test_begun_station_waits_for_the_history_from_its_begin() -> None:
    """Long after the start of the bridge, such as one of a shard that another member had."""
    bridge = _Bridge(with_history=False)
    bridge.stations.replace(["s1"], {}, Rules())
    begin = 2 * HISTORY_LIMIT
    bridge.stations.replace([], _STATION, Rules(), at(begin).monotonic)
    bridge.stations.expect_history(["s1"])
    bridge.read_broker({})
    assert bridge.poll(begin) is None
    assert bridge.poll(begin + 30) is None, "a start at 0 would go back"
    bridge.stations.history_read(["s1"], _record(1000.0, begin - 20))
    assert bridge.charged == 1100.0
    assert not bridge.at_zero


def test_broker_back_after_long_leaves_time_for_the_history() -> None:
    bridge = _Bridge()
    back = 2 * HISTORY_LIMIT
    for second in (10.0, back - 30):
        assert bridge.poll(second) is None
    bridge.read_broker({})
    assert bridge.poll(back) is None, "a start at 0 would go back"
    bridge.stations.history_read(["s1"], _record(1000.0, -20))
    assert bridge.charged is not None
    assert bridge.charged > 1000.0
    assert not bridge.at_zero


def test_record_below_a_previous_base_topic_is_continued() -> None:
    bridge = _Bridge(with_history=False)
    bridge.read_broker({}, is_complete=False)
    bridge.poll(10)
    assert bridge.meter is None
    bridge.stations.broker_read(_record(1000.0, -20), ["s1"], is_complete=True, is_late=True)
    assert bridge.charged == 1060.0
    assert not bridge.at_zero


def test_record_that_is_found_too_late_changes_nothing() -> None:
    bridge = _Bridge(with_history=False)
    bridge.read_broker({}, is_complete=False)
    bridge.wait(0)
    bridge.poll(HISTORY_LIMIT)
    bridge.stations.broker_read(_record(1_000_000.0, -20), ["s1"], is_complete=True, is_late=True)
    assert bridge.charged == 0.0


def test_unrecorded_session_of_the_broker_is_reported_once() -> None:
    ended = Session(NOW, is_start_known=True, charged=1000.0, ended=NOW + timedelta(seconds=5))
    for history, expected in [(None, [ended]), (ended, []), (ended._replace(started=NOW - timedelta(1)), [ended])]:
        bridge = _Bridge()
        bridge.stations.history_read(["s1"], _record(1000.0, -20, last_session=history))
        bridge.read_broker(_record(1000.0, -20, last_session=ended))
        bridge.wait(1)
        assert bridge.unrecorded == expected


def test_session_that_ends_at_the_start_is_reported() -> None:
    bridge = _Bridge()
    bridge.stations.history_read(["s1"], _record(1000.0, -20))
    bridge.stations.restore_plugs("s1", {"p1": None})
    bridge.poll(10, "idle", 0.0)  # before the broker is read
    bridge.read_broker(_record(1000.0, -20))
    bridge.wait(11)
    [ended] = bridge.unrecorded
    assert ended.ended == NOW + timedelta(seconds=10)
    changes = bridge.stations.pop_session_changes(["s1"])
    assert [change.event for change in changes["s1"]["p1"]] == [SessionEvent.ENDED]
    assert not bridge.stations.pop_session_changes(["s1"])


def test_station_that_is_added_again_continues() -> None:
    bridge = _Bridge(with_history=False)
    bridge.read_broker(_record(1000.0, -20))
    bridge.poll(0)
    bridge.stations.replace(["s1"], {}, Rules())
    bridge.stations.replace([], _STATION, Rules())
    bridge.stations.broker_read({}, ["s1"], is_complete=True)
    bridge.poll(10)
    assert bridge.charged == 1060.0
    assert not bridge.at_zero


@pytest.mark.parametrize("added", [(), ("p3",)])
def test_plug_that_returns_after_it_was_forgotten_continues(added: tuple[str, ...]) -> None:
    bridge = _Bridge(with_history=False)
    bridge.read_broker(_record(1000.0, -20))
    bridge.poll(0)
    last = 60.0 + FORGET_AFTER
    for second in (30.0, 60.0, last):
        plugs = ("p2", *added) if second == last else ("p2",)
        others = (plug_reading(plug, time=NOW + timedelta(seconds=second)) for plug in plugs)
        bridge.stations.apply_outcome("s1", reading(*others), at(second), 0.1)
    assert bridge.meter is None
    meter = bridge.poll(90 + FORGET_AFTER)
    assert meter is not None
    assert (meter.charged, meter.gap) == (1040.0, 90 + FORGET_AFTER)


def test_added_station_continues_from_the_history() -> None:
    bridge = _Bridge(with_history=False)
    bridge.stations.replace(["s1"], {}, Rules())
    bridge.stations.keep_meters(_record(1000.0, -20))
    bridge.stations.replace([], _STATION, Rules())
    bridge.stations.broker_read({}, ["s1"], is_complete=True)
    bridge.poll(10)
    assert bridge.charged == 1060.0


@pytest.mark.parametrize(("second", "gap"), [(179, 0.0), (181, 181.0)])
def test_span_across_a_restart_includes_what_was_unpublished(second: float, gap: float) -> None:
    bridge = _Bridge(with_history=False)
    bridge.read_broker(_record(1000.0, 0))
    meter = bridge.poll(second)
    assert meter is not None
    assert meter.gap == gap
