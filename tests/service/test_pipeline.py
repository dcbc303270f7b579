"""The path of a poll result, without a broker: the state advances, the session and the listeners are notified."""

from datetime import timedelta
from typing import Any

import pytest

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import (
    CloudAnswering,
    CloudRejecting,
    Listener,
    MetersStarted,
    PollCompleted,
    StateAged,
    TokenRejected,
)
from evse_mqtt_bridge.domain.model import Outcome, Reason, Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.service.pipeline import Pipeline
from tests.harness.samples import NOW, failure, reading, rejection

_UUID = "a" * 32
_CONFIG = Config.model_validate(
    {
        "mqtt": {"host": "broker.test"},
        "polling": {"stale_after": 60},
        "stations": [{"edge_device_id": "edge-1", "uuid": _UUID, "token": "token"}],
    }
)


class _Recorder(Listener):
    """Records the events, and the changes that the session receives, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def station_changed(self, _station: Station, old: StationState, new: StationState) -> None:
        self.calls.append(("session", (old, new)))

    def sessions_changed(self, station: Station) -> None:
        self.calls.append(("sessions", station))

    def meters_started(self, event: MetersStarted) -> None:
        self.calls.append(("meters_started", event))

    def poll_completed(self, event: PollCompleted) -> None:
        self.calls.append(("poll_completed", event))

    def state_aged(self, event: StateAged) -> None:
        self.calls.append(("state_aged", event))

    def token_rejected(self, event: TokenRejected) -> None:
        self.calls.append(("token_rejected", event))

    def cloud_rejecting(self, event: CloudRejecting) -> None:
        self.calls.append(("cloud_rejecting", event))

    def cloud_answering(self, event: CloudAnswering) -> None:
        self.calls.append(("cloud_answering", event))


@pytest.fixture
def recorder() -> _Recorder:
    return _Recorder()


@pytest.fixture
def pipeline(recorder: _Recorder) -> Pipeline:
    plan = publishing_plan(_CONFIG)
    return Pipeline(Stations(plan.stations, plan.rules, started=0.0), recorder, recorder)


def test_on_result_returns_the_new_state(pipeline: Pipeline) -> None:
    failed = failure(Reason.UNREACHABLE)
    outcomes: list[Outcome] = [failed, failed, reading(), failed]
    states = [pipeline.on_result(_UUID, outcome, Moment(1.0, NOW), 0.1) for outcome in outcomes]
    assert [state.consecutive_failures for state in states] == [1, 2, 0, 1]
    assert [state.failure for state in states] == [failed, failed, None, failed]


def test_on_result_reaches_the_session_before_listeners(pipeline: Pipeline, recorder: _Recorder) -> None:
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    (session, change), (event_name, event) = recorder.calls
    assert (session, event_name) == ("session", "poll_completed")
    assert change == (event.old, event.new)
    assert (event.station.uuid, event.old, event.new.reason) == (_UUID, StationState(), Reason.ONLINE)
    assert (event.moment, event.seconds) == (Moment(1.0, NOW), 0.1)


def test_poll_without_changes_reaches_only_listeners(pipeline: Pipeline, recorder: _Recorder) -> None:
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    recorder.calls.clear()
    pipeline.on_result(_UUID, reading(), Moment(2.0, NOW), 0.1)
    ((name, event),) = recorder.calls
    assert (name, event.has_changes) == ("poll_completed", False)


def test_start_of_a_meter_is_reported_before_the_next_poll() -> None:
    """Otherwise the recorder would record an older count after a newer one, and session events would be missing."""
    plan = publishing_plan(_CONFIG)
    stations, recorder = Stations(plan.stations, plan.rules, started=0.0), _Recorder()
    pipeline = Pipeline(stations, recorder, recorder)
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    stations.broker_read({}, [_UUID], is_complete=True)
    recorder.calls.clear()
    pipeline.on_result(_UUID, reading(), Moment(2.0, NOW), 0.1)
    pipeline.age(Moment(2.5, NOW), 10)
    calls = [name for name, _ in recorder.calls if name != "session"]
    assert calls == ["sessions", "meters_started", "poll_completed"]


def test_consequences_reach_the_session_and_listeners(pipeline: Pipeline, recorder: _Recorder) -> None:
    """There is only one station, so a rejection that is not the API's concerns the cloud."""
    pipeline.on_result(_UUID, rejection(is_from_api=False), Moment(1.0, NOW), 0.1)
    assert [name for name, _ in recorder.calls] == ["poll_completed", "token_rejected", "cloud_rejecting"]
    recorder.calls.clear()
    pipeline.on_result(_UUID, reading(), Moment(2.0, NOW), 0.1)
    assert [name for name, _ in recorder.calls] == ["session", "poll_completed", "cloud_answering"]


def test_age_without_stale_measurements_does_nothing(pipeline: Pipeline, recorder: _Recorder) -> None:
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    recorder.calls.clear()
    pipeline.age(Moment(2.0, NOW + timedelta(seconds=1)), 10)
    assert recorder.calls == []


def test_age_returns_whether_more_stations_are_due(pipeline: Pipeline) -> None:
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    later = Moment(100.0, NOW + timedelta(seconds=99))
    assert [pipeline.age(later, limit) for limit in (0, 1, 1)] == [True, False, False]


def test_age_with_stale_measurements_reports_each_station(pipeline: Pipeline, recorder: _Recorder) -> None:
    pipeline.on_result(_UUID, reading(), Moment(1.0, NOW), 0.1)
    recorder.calls.clear()
    pipeline.age(Moment(100.0, NOW + timedelta(seconds=99)), 10)
    (session, change), (event_name, event) = recorder.calls
    assert (session, event_name) == ("session", "state_aged")
    assert change == (event.old, event.new)
    assert {plug.reason for plug in event.new.plugs.values()} == {Reason.STALE}
