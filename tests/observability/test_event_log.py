"""The log: one line per failure and one per recovery, bounded in number, and safe against text from outside."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Moment, Rules, advance, age, has_changes
from evse_mqtt_bridge.domain.events import (
    BrokerChanged,
    BrokerConnected,
    BrokerDisconnected,
    CloudAnswering,
    CloudRejecting,
    ConfigurationApplied,
    ConfigurationRejected,
    ConsumerStarted,
    DisconnectReason,
    MetersStarted,
    OfflineNotAcknowledged,
    OlderVersionUsed,
    PollCompleted,
    PublishForbidden,
    PublishRejected,
    RestoreUncertain,
    ShardBegun,
    StateAged,
    StationRemoved,
    SubscriptionRejected,
)
from evse_mqtt_bridge.domain.model import Attribution, Failure, Outcome, Reading, Reason, Station, StationState
from evse_mqtt_bridge.domain.plugs import restore_plugs
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.observability.station_log import LINES_PER_MINUTE, LOGGED_ONCE_LIMIT
from tests.harness import Clock
from tests.harness.samples import at, failure, plug_reading, reading, rejection

_NORTH = Station("e1", 30, name="Garage north")
_OK = reading()
_OFFLINE = reading(plug_reading(status="offline"))
_UNREACHABLE, _UNAUTHORIZED = failure(Reason.UNREACHABLE), failure(Reason.UNAUTHORIZED)
_LOST = BrokerDisconnected(DisconnectReason.LOST, "the connection broke off", 1.0)
_CONNECTED = BrokerConnected()


class _Run:
    """An event log on a clock, with the lines that it wrote."""

    def __init__(self, clock: Clock, form: str = "json", level: str = "info") -> None:
        self.clock = clock
        self._stream = io.StringIO()
        log = make_logger(level, form, self._stream)  # type: ignore[arg-type]  # a parametrized literal
        self.event_log = EventLog(log, clock, "localhost:1883", "me")
        self._states: dict[str, StationState] = {}

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def ids(self) -> list[str]:
        return [line["event"] for line in self.lines]

    @property
    def plug_ids(self) -> list[str]:
        return [event_id for event_id in self.ids if event_id.startswith("plug")]

    def poll(self, *outcomes: Outcome, station: Station = _NORTH, every: float = 30) -> None:
        for outcome in outcomes:
            old = self._states.get(station.uuid, StationState())
            moment = replace(at(0), monotonic=self.clock())
            new = self._states[station.uuid] = advance(old, outcome, Rules(stale_after=0), moment)
            self.event_log.poll_completed(PollCompleted(station, old, new, outcome, moment, 0.1, has_changes(old, new)))
            self.clock.advance(every)

    def drop(self) -> None:
        """Forget the states, as when another member polls the stations."""
        self._states.clear()

    def disconnect(self, reason: DisconnectReason, retry_in: float = 5.0) -> None:
        self.event_log.broker_disconnected(BrokerDisconnected(reason, "connection refused", retry_in))


@pytest.fixture(name="run")
def _run(clock: Clock) -> _Run:
    return _Run(clock)


def _warnings(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["level"] in ("warning", "error")]


def test_counters_that_start_at_zero_are_one_line(run: _Run) -> None:
    for station in (_NORTH, replace(_NORTH, uuid="e2", name="Garage south")):
        run.event_log.meters_started(MetersStarted(station, StationState(), {}, 2))
        run.event_log.meters_started(MetersStarted(station, StationState(), {}, 0))
    run.event_log.tick()
    assert run.lines == [], "more may start"
    run.clock.advance(10)
    for _ in range(2):
        run.event_log.tick()
    [line] = run.lines
    assert (line["event"], line["plugs"], line["station"]) == ("counters_start_at_zero", 4, "Garage north")


# Stations


def test_station_outage_is_one_warning_and_one_recovery(run: _Run) -> None:
    run.poll(_OK, _OK, *[_UNREACHABLE] * 100, _OK, _OK)
    assert [(line["level"], line["event"], line["message"]) for line in run.lines] == [
        ("info", "station_available", "station available"),
        ("warning", "station_unavailable", "station unavailable"),
        ("info", "station_available_again", "station available again"),
    ]
    assert run.lines[1]["station"] == "Garage north"
    assert run.lines[1]["reason"] == "unreachable"
    assert run.lines[1]["detail"] == "something happened"
    assert run.lines[2]["after"] == "49 min", "since the failure that made it unavailable"


def test_shard_that_runs_twice_has_its_own_advice(run: _Run) -> None:
    event = BrokerDisconnected(DisconnectReason.UNSTEADY, "shard 1: the connection was lost", 1.0, is_of_member=True)
    run.event_log.broker_disconnected(event)
    assert run.lines[0]["advice"].startswith("let one member only run each shard (fleet.share)")


def test_shard_that_begins_is_one_line_for_its_stations(run: _Run) -> None:
    run.event_log.shard_begun(ShardBegun(3, 125, "m1"))
    run.poll(_OK, *[_UNREACHABLE] * 3, _OK)
    assert run.ids == ["shard_begun", "station_unavailable", "station_available_again"]


def test_outage_before_a_shard_left_does_not_end_here(run: _Run) -> None:
    run.event_log.shard_begun(ShardBegun(3, 125, ""))
    run.poll(_OK, *[_UNREACHABLE] * 3)
    run.drop()
    run.poll(_OK)
    assert run.ids == ["shard_begun", "station_unavailable"]


def test_station_with_passing_failures_logs_nothing(run: _Run) -> None:
    run.poll(_OK, _UNREACHABLE, _UNREACHABLE, _OK, _UNREACHABLE, _OK)
    assert run.ids == ["station_available"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [(Reason.UNAUTHORIZED, "check its token"), (Reason.NOT_FOUND, "check edge_device_id and uuid")],
)
def test_rejected_station_is_one_error_with_advice(run: _Run, reason: Reason, advice: str) -> None:
    run.poll(_OK, *[failure(reason)] * 10)
    assert [(line["level"], line["reason"], line["advice"]) for line in _warnings(run.lines)] == [
        ("error", reason, advice)
    ]


def test_reason_change_in_outage_is_logged_only_if_rejected(run: _Run) -> None:
    run.poll(
        _OK,
        *[_UNREACHABLE] * 3,
        failure(Reason.SERVER_ERROR),
        _UNREACHABLE,
        _UNAUTHORIZED,
        _UNREACHABLE,
        _UNAUTHORIZED,
        _OK,
    )
    assert run.ids == ["station_available", "station_unavailable", "station_rejected", "station_available_again"]


def test_station_without_any_answer_is_logged_once(run: _Run) -> None:
    run.poll(*[_UNREACHABLE] * 10, _OK)
    assert run.ids == ["station_unavailable", "station_available_again"]


def test_rejection_in_a_later_outage_is_logged_again(run: _Run) -> None:
    run.poll(_UNAUTHORIZED, _OK, _UNAUTHORIZED)
    assert run.ids == ["station_rejected", "station_available_again", "station_rejected"]


def test_plug_outage_is_logged_with_its_label(run: _Run) -> None:
    run.poll(_OK, _OFFLINE, _OFFLINE, _OK, _OK)
    assert [(line["event"], line.get("plug"), line.get("after")) for line in run.lines[1:]] == [
        ("plug_unavailable", "Plug 1", None),
        ("plug_available_again", "Plug 1", "60 s"),
    ]
    assert run.lines[1]["reason"] == "offline"


def test_plugs_in_station_outage_are_not_logged(run: _Run) -> None:
    run.poll(_OK, *[_UNREACHABLE] * 5, _OK)
    assert run.plug_ids == []


def test_plug_outage_across_station_outage_is_one(run: _Run) -> None:
    run.poll(_OK, _OFFLINE, *[_UNREACHABLE] * 5, _OFFLINE, _OK)
    assert run.plug_ids == ["plug_unavailable", "plug_available_again"]


def test_removed_plug_is_logged_and_forgotten(run: _Run) -> None:
    both = reading(plug_reading("p1"), plug_reading("p2"))
    run.poll(both, _OK)
    run.clock.advance(FORGET_AFTER)
    run.poll(_OK, both, _OK)
    assert run.plug_ids == ["plug_unavailable", "plug_removed", "plug_unavailable"]


def test_aged_plug_is_logged_as_unavailable(run: _Run) -> None:
    old = advance(StationState(), _OK, Rules(), at(0))
    plugs = {uuid: replace(plug, reason=Reason.STALE) for uuid, plug in old.plugs.items()}
    run.event_log.state_aged(StateAged(_NORTH, old, replace(old, plugs=plugs), Moment(run.clock(), run.clock.now())))
    assert [(line["event"], line["reason"]) for line in run.lines] == [("plug_unavailable", "stale")]


def test_aged_station_is_logged_with_its_last_failure(run: _Run) -> None:
    """A failure counts as soon as the plugs of a previous run are restored."""
    old = advance(StationState(), _UNREACHABLE, Rules(), at(0))
    new = age(restore_plugs(old, {"p1": "Plug 1"}), Rules(), at(1))
    run.event_log.state_aged(StateAged(_NORTH, old, new, Moment(run.clock(), run.clock.now())))
    (line,) = run.lines
    assert (line["event"], line["reason"]) == ("station_unavailable", "unreachable")
    assert line["detail"] == "something happened"


def _attributed(attribution: Attribution, reason: Reason = Reason.SERVER_ERROR) -> Failure:
    return replace(rejection(reason), attribution=attribution)


def test_rejection_is_logged_once_it_concerns_the_station(run: _Run) -> None:
    undecided, decided = _attributed(Attribution.UNDECIDED), _attributed(Attribution.STATION, Reason.UNAUTHORIZED)
    run.poll(_OK, undecided, undecided, undecided, undecided, decided, decided, _OK)
    assert run.ids == ["station_available", "station_rejected", "station_available_again"]
    assert run.lines[2]["after"] == "2 min", "since it became unavailable"


def test_rejection_decided_by_another_station_is_logged(run: _Run) -> None:
    old = advance(StationState(), _attributed(Attribution.UNDECIDED), Rules(offline_after=1), at(0))
    run.event_log.poll_completed(
        PollCompleted(_NORTH, StationState(), old, _OK, at(0), 0.1, has_changes(StationState(), old))
    )
    assert run.ids == []
    new = replace(old, failure=_attributed(Attribution.STATION))
    run.event_log.state_aged(StateAged(_NORTH, old, new, at(1)))
    assert run.ids == ["station_unavailable"], "also if the reason is the same"
    run.event_log.state_aged(StateAged(_NORTH, new, new, at(2)))
    assert run.ids == ["station_unavailable"]


def test_rejection_by_the_cloud_is_one_line_for_all_stations(run: _Run) -> None:
    stations = [Station(f"e{number}", 30) for number in range(5)]
    for station in stations:
        run.poll(_OK, station=station, every=0)
    known = len(run.lines)
    for _ in range(5):
        for station in stations:
            run.poll(_attributed(Attribution.CLOUD), station=station, every=1)
    run.event_log.cloud_rejecting(CloudRejecting("HTTP 401 Unauthorized", 5))
    for station in stations:
        run.poll(_OK, station=station, every=1)
    run.event_log.cloud_answering(CloudAnswering(240.0))
    assert [(line["event"], line["level"]) for line in run.lines[known:]] == [
        ("cloud_rejecting", "warning"),
        ("cloud_answering", "info"),
    ]
    assert run.lines[known]["detail"] == "HTTP 401 Unauthorized"
    assert run.lines[known + 1]["after"] == "4 min"


def test_other_failure_after_rejections_is_logged(run: _Run) -> None:
    run.poll(_OK, *[_attributed(Attribution.CLOUD)] * 3, _UNREACHABLE, _UNREACHABLE, _OK)
    assert run.ids == ["station_available", "station_unavailable", "station_available_again"]
    assert run.lines[1]["reason"] == "unreachable"


def test_unusual_answer_is_logged_once(run: _Run) -> None:
    unusual = Reading((plug_reading(),), notes=("status 'rebooting' is unknown and was published unchanged",))
    run.poll(unusual, unusual, unusual)
    assert run.ids.count("unusual_answer") == 1


def test_removed_station_is_forgotten_but_not_the_broker(run: _Run) -> None:
    run.event_log.broker_connected(_CONNECTED)
    run.poll(_OFFLINE, *[_UNREACHABLE] * 3)
    run.event_log.broker_disconnected(_LOST)
    run.event_log.station_removed(StationRemoved("e1"))
    run.clock.advance(100)
    seen = len(run.lines)
    run.event_log.broker_connected(_CONNECTED)
    run.poll(_OFFLINE)
    assert [(line["event"], line.get("after")) for line in run.lines[seen:]] == [
        ("broker_connected", "100 s"),
        ("station_available", None),
        ("plug_unavailable", None),
    ]


def test_removal_of_another_station_forgets_no_outage(run: _Run) -> None:
    run.poll(_OFFLINE, *[_UNREACHABLE] * 3)
    run.event_log.station_removed(StationRemoved("e2"))
    run.poll(_OK)
    assert run.ids[-2:] == ["station_available_again", "plug_available_again"]


# Floods


def test_flood_of_lines_is_limited_and_counted(run: _Run) -> None:
    stations = [Station(f"s{index}", 30) for index in range(5000)]
    for station in stations:
        run.poll(_UNAUTHORIZED, station=station, every=0)
    assert len(run.lines) == LINES_PER_MINUTE
    run.clock.advance(61)
    run.event_log.tick()
    run.event_log.tick()
    assert len(run.lines) == LINES_PER_MINUTE + 1
    assert (run.lines[-1]["event"], run.lines[-1]["lines"]) == ("lines_suppressed", 5000 - LINES_PER_MINUTE)
    run.poll(_OK, station=stations[0])
    assert run.ids[-1] == "station_available_again", "lines pass again"


def test_hour_of_flapping_stations_is_limited(run: _Run) -> None:
    stations = [Station(f"s{index}", 30) for index in range(50)]
    for cycle in range(120):
        for station in stations:
            notes = tuple(f"field 'x{cycle}{station.uuid}{index}' is not known" for index in range(3))
            second = plug_reading("p2", status=["offline", "idle"][cycle % 2])
            unusual = Reading((plug_reading(), second), notes=notes)
            run.poll(_UNAUTHORIZED, unusual, station=station, every=0)
        run.event_log.tick()
        run.clock.advance(30)
    assert len(run.lines) <= 60 * (LINES_PER_MINUTE + 1) + 1


def test_rate_limiting_cloud_is_logged_every_ten_minutes(run: _Run) -> None:
    busy = Failure(Reason.RATE_LIMITED, "HTTP 429 Too Many Requests", 1.0)
    for index in range(3600):
        run.poll(busy, station=Station(f"s{index % 100}", 30), every=1)
    lines = [line for line in run.lines if line["event"] == "cloud_rate_limited"]
    assert 1 <= len(lines) <= 10
    assert (lines[0]["wait"], lines[0]["detail"]) == ("1.0 s", "HTTP 429 Too Many Requests")


def test_rejected_topics_beyond_limit_are_forgotten(run: _Run) -> None:
    first = PublishRejected("evse/0", "Not authorized")
    run.event_log.publish_rejected(first)
    run.event_log.publish_rejected(first)
    assert run.ids == ["publish_rejected"]
    for index in range(1, LOGGED_ONCE_LIMIT + 1):
        run.event_log.publish_rejected(PublishRejected(f"evse/{index}", "Not authorized"))
    run.clock.advance(61)
    run.event_log.tick()
    run.event_log.publish_rejected(first)
    assert (run.ids[-1], run.lines[-1]["topic"]) == ("publish_rejected", "evse/0")


# The broker


def test_broker_outage_is_logged_with_its_duration(run: _Run) -> None:
    run.event_log.broker_connected(_CONNECTED)
    run.clock.advance(100)
    run.event_log.broker_disconnected(_LOST)
    for _ in range(20):
        run.disconnect(DisconnectReason.UNREACHABLE)
        run.clock.advance(5)
    run.event_log.broker_connected(_CONNECTED)
    assert run.ids == ["broker_connected", "broker_connection_lost", "broker_unreachable", "broker_connected"]
    assert run.lines[-1]["after"] == "100 s"


def test_broker_change_forgets_broker_but_no_station(run: _Run) -> None:
    run.event_log.broker_connected(_CONNECTED)
    run.event_log.broker_disconnected(_LOST)
    run.poll(_UNAUTHORIZED)
    seen = len(run.lines)
    run.event_log.broker_changed(BrokerChanged("other.example:1883", "other"))
    run.clock.advance(100)
    run.event_log.broker_connected(_CONNECTED)
    connected = run.lines[seen]
    assert (connected["event"], connected["broker"]) == ("broker_connected", "other.example:1883")
    assert "after" not in connected
    run.event_log.broker_disconnected(_LOST)
    assert run.ids[-1] == "broker_connection_lost"
    run.poll(_OK)
    assert run.ids[-1] == "station_available_again"


def test_broker_change_forgets_rejections_but_no_notes(run: _Run) -> None:
    rejected, unusual = PublishRejected("evse/x", "Not authorized"), Reading((plug_reading(),), notes=("odd",))
    run.poll(unusual)
    run.event_log.publish_rejected(rejected)
    run.event_log.broker_changed(BrokerChanged("other.example:1883", "other"))
    seen = len(run.lines)
    run.poll(unusual)
    run.event_log.publish_rejected(rejected)
    assert run.ids[seen:] == ["publish_rejected"]


def test_client_id_in_use_is_one_error_that_names_it(run: _Run) -> None:
    for _ in range(60):
        run.event_log.broker_connected(_CONNECTED)
        run.clock.advance(5)
        run.disconnect(DisconnectReason.TAKEN_OVER, retry_in=10)
        run.clock.advance(10)
    (error,) = _warnings(run.lines)
    assert error["client_id"] == "me"
    assert error["advice"].startswith("if this bridge runs twice, stop one; ")
    assert "mqtt.base_topic" in error["advice"]
    assert len(run.lines) <= 3


def test_connection_that_lasts_again_is_logged_by_tick(run: _Run) -> None:
    run.disconnect(DisconnectReason.UNSTEADY)
    run.event_log.broker_connected(_CONNECTED)
    run.clock.advance(59)
    run.event_log.tick()
    assert run.ids == ["broker_connection_unstable"]
    run.clock.advance(1)
    run.event_log.tick()
    run.event_log.tick()
    assert run.ids == ["broker_connection_unstable", "broker_connected"]


@pytest.mark.parametrize("reason", DisconnectReason)
def test_disconnect_reason_is_logged_once_with_detail(run: _Run, reason: DisconnectReason) -> None:
    run.disconnect(reason, retry_in=2.5)
    run.disconnect(reason, retry_in=5)
    [line] = run.lines
    assert (line["detail"], line["next_attempt"], line["broker"]) == ("connection refused", "2.5 s", "localhost:1883")
    assert line["level"] in ("warning", "error")


def test_other_broker_events_are_logged(run: _Run) -> None:
    run.event_log.subscription_rejected(SubscriptionRejected("evse/#"))
    run.event_log.subscription_rejected(SubscriptionRejected("evse/#"))
    run.event_log.publish_forbidden(PublishForbidden("homeassistant/#"))
    run.event_log.older_version_used(OlderVersionUsed("3.1.1"))
    run.event_log.restore_uncertain(RestoreUncertain("evse/bridge/marker", "the marker did not come back"))
    run.event_log.restore_uncertain(RestoreUncertain("evse/bridge/marker", "the marker did not come back"))
    run.event_log.consumer_started(ConsumerStarted())
    run.event_log.offline_not_acknowledged(OfflineNotAcknowledged())
    assert run.ids == [
        "subscription_rejected",
        "publish_forbidden",
        "older_version_used",
        "restore_uncertain",
        "consumer_started",
        "offline_not_acknowledged",
    ]
    assert run.lines[0]["filter"] == "evse/#"


# The configuration


def test_applied_configuration_is_logged(run: _Run) -> None:
    run.event_log.configuration_applied(ConfigurationApplied(3, added=1, removed=2, changed=0))
    (line,) = run.lines
    assert line["event"] == "configuration_applied"
    assert [line[key] for key in ("stations", "added", "removed", "changed")] == [3, 1, 2, 0]


def test_rejected_configuration_has_one_line_per_problem(run: _Run) -> None:
    run.event_log.configuration_rejected(ConfigurationRejected(("one problem", "another one")))
    assert [(line["event"], line["problem"]) for line in run.lines] == [
        ("configuration_rejected", "one problem"),
        ("configuration_rejected", "another one"),
    ]


# Text from outside

_HOSTILE = "\x1b[31mx\r\n2024-01-01T00:00:00Z [error] forged\u2028line\u202e\x00" + "y" * 10_000


@pytest.mark.parametrize("form", ["console", "json"])
def test_hostile_text_stays_within_its_line(clock: Clock, form: str) -> None:
    run = _Run(clock, form, "debug")
    station = Station("e1", 30, name=_HOSTILE)
    offline = reading(plug_reading(label=_HOSTILE, status="offline"))
    run.poll(offline, reading(plug_reading(label=_HOSTILE)), *[_UNAUTHORIZED] * 2, station=station)
    run.event_log.publish_rejected(PublishRejected(f"evse/{_HOSTILE}", "Not authorized"))
    lines = run.text.split("\n")
    assert len(lines) == len(run.text.splitlines()) + 1, "the log's own line breaks are the only ones"
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("2024-01-01")]
    assert max(map(len, lines)) < 1000
