"""The log: one line when something goes, one when it is back, bounded floods, and nothing from outside in between."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules, advance
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Reason, Station, StationState
from evse_mqtt_bridge.mqtt.connection import Disconnected, DisconnectReason
from evse_mqtt_bridge.observability.event_log import LINES_PER_MINUTE, EventLog, RateLimiter, duration
from evse_mqtt_bridge.observability.log import make_logger
from tests.harness import Clock
from tests.harness.samples import at, failure, plug_reading, reading

_NORTH = Station("e1", 30, name="Garage north")
_OK = reading()
_LOST, _REJECTED = failure(Reason.UNREACHABLE), failure(Reason.UNAUTHORIZED)


class _Story:
    """A event_log on a clock, and the lines that it wrote."""

    def __init__(self, clock: Clock, form: str = "json", level: str = "info") -> None:
        self.clock = clock
        self._stream = io.StringIO()
        log = make_logger(level, form, self._stream)  # type: ignore[arg-type]  # one of the words that it takes
        self.event_log = EventLog(log, clock, "localhost:1883", "me")
        self._states: dict[str, StationState] = {}

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["message"] for line in self.lines]

    def poll(self, *outcomes: Outcome, station: Station = _NORTH, every: float = 30) -> None:
        for outcome in outcomes:
            old = self._states.get(station.uuid, StationState())
            moment = replace(at(0), monotonic=self.clock())
            new = self._states[station.uuid] = advance(old, outcome, Rules(stale_after=0), moment)
            self.event_log.polled(station, old, new, outcome)
            self.clock.advance(every)


@pytest.fixture
def story(clock: Clock) -> _Story:
    return _Story(clock)


def _warnings(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["level"] in ("warning", "error")]


# Stations


def test_an_outage_is_one_warning_and_its_end_one_line_that_says_how_long(story: _Story) -> None:
    story.poll(_OK, _OK, *[_LOST] * 100, _OK, _OK)
    assert [(line["level"], line["message"]) for line in story.lines] == [
        ("info", "station answers"),
        ("warning", "station unavailable"),
        ("info", "station is back"),
    ]
    assert story.lines[1]["station"] == "Garage north"
    assert story.lines[1]["reason"] == "unreachable"
    assert story.lines[1]["detail"] == "something happened"
    assert story.lines[2]["after"] == "49 min", "since the miss that made it unavailable"


def test_misses_that_pass_are_not_told(story: _Story) -> None:
    story.poll(_OK, _LOST, _LOST, _OK, _LOST, _OK)
    assert story.events == ["station answers"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [(Reason.UNAUTHORIZED, "check its token"), (Reason.NOT_FOUND, "check edge_device_id and uuid")],
)
def test_a_rejection_is_one_error_with_advice(story: _Story, reason: Reason, advice: str) -> None:
    story.poll(_OK, *[failure(reason)] * 10)
    assert [(line["level"], line["reason"], line["advice"]) for line in _warnings(story.lines)] == [
        ("error", reason, advice)
    ]


def test_a_reason_that_changes_within_an_outage_is_told_only_where_somebody_must_act(story: _Story) -> None:
    story.poll(_OK, *[_LOST] * 3, failure(Reason.SERVER_ERROR), _LOST, _REJECTED, _LOST, _REJECTED, _OK)
    assert story.events == ["station answers", "station unavailable", "station rejected", "station is back"]


def test_a_station_that_never_answered_is_told_once(story: _Story) -> None:
    story.poll(*[_LOST] * 10, _OK)
    assert story.events == ["station unavailable", "station is back"]


def test_a_plug_that_goes_and_comes_back_is_told_by_its_label(story: _Story) -> None:
    offline = reading(plug_reading(status="offline"))
    story.poll(_OK, offline, offline, _OK, _OK)
    assert [(line["message"], line.get("plug"), line.get("after")) for line in story.lines[1:]] == [
        ("plug unavailable", "Plug 1", None),
        ("plug is back", "Plug 1", "60 s"),
    ]
    assert story.lines[1]["reason"] == "offline"


def test_plugs_that_go_and_come_with_their_station_are_not_told(story: _Story) -> None:
    story.poll(_OK, *[_LOST] * 5, _OK)
    assert not [event for event in story.events if event.startswith("plug")]


def test_a_plug_that_was_away_before_its_station_was_is_told_when_it_is_back(story: _Story) -> None:
    offline = reading(plug_reading(status="offline"))
    story.poll(_OK, offline, *[_LOST] * 5, offline, _OK)
    assert [event for event in story.events if event.startswith("plug")] == ["plug unavailable", "plug is back"]


def test_a_plug_that_was_removed_is_told_and_forgotten(story: _Story) -> None:
    both = reading(plug_reading("p1"), plug_reading("p2"))
    story.poll(both, _OK)
    story.clock.advance(FORGET_AFTER)
    story.poll(_OK, both, _OK)
    events = [event for event in story.events if event.startswith("plug")]
    assert events == ["plug unavailable", "plug removed, after a day without it", "plug unavailable"]


def test_what_is_new_in_an_answer_is_told_once(story: _Story) -> None:
    odd = Reading((plug_reading(),), notes=("status 'rebooting' is not known and was published as it is",))
    story.poll(odd, odd, odd)
    assert story.events.count("unusual answer") == 1


def test_a_station_that_went_is_forgotten(story: _Story) -> None:
    offline = reading(plug_reading(status="offline"))
    story.poll(offline, *[_LOST] * 3)
    story.event_log.broker_ended(Disconnected(DisconnectReason.LOST, "the connection broke off"), 1.0)
    story.event_log.forget({"e1"})
    assert list(story.event_log._since) == [("broker",)], "nothing else went"


# Floods


def test_a_flood_of_stations_is_cut_off_and_counted(story: _Story) -> None:
    stations = [Station(f"s{index}", 30) for index in range(5000)]
    for station in stations:
        story.poll(_REJECTED, station=station, every=0)
    assert len(story.lines) == LINES_PER_MINUTE
    story.clock.advance(61)
    story.event_log.tick()
    story.event_log.tick()
    assert len(story.lines) == LINES_PER_MINUTE + 1
    assert story.lines[-1]["lines"] == 5000 - LINES_PER_MINUTE
    story.poll(_OK, station=stations[0])
    assert story.events[-1] == "station is back", "and then it is told again"


def test_an_hour_of_flapping_is_bounded(story: _Story) -> None:
    stations = [Station(f"s{index}", 30) for index in range(50)]
    for turn in range(120):
        for station in stations:
            notes = tuple(f"field 'x{turn}{station.uuid}{index}' is not known" for index in range(3))
            odd = Reading((plug_reading(), plug_reading("p2", status=["offline", "idle"][turn % 2])), notes=notes)
            story.poll(_REJECTED, odd, station=station, every=0)
        story.event_log.tick()
        story.clock.advance(30)
    assert len(story.lines) <= 60 * (LINES_PER_MINUTE + 1) + 1


def test_a_cloud_that_asks_to_wait_again_and_again_is_told_now_and_then(story: _Story) -> None:
    busy = Failure(Reason.RATE_LIMITED, "HTTP 429 Too Many Requests", 1.0)
    for index in range(3600):
        story.poll(busy, station=Station(f"s{index % 100}", 30), every=1)
    asked = [line for line in story.lines if line["message"].startswith("the cloud asks to wait")]
    assert 1 <= len(asked) <= 10
    assert (asked[0]["wait"], asked[0]["detail"]) == ("1.0 s", "HTTP 429 Too Many Requests")


def test_what_is_remembered_is_bounded(story: _Story) -> None:
    for index in range(5000):
        story.event_log.publish_refused(f"evse/{index}", "Not authorized")
    assert len(story.event_log._said) <= 1000


def test_a_quota_lets_a_number_through_per_minute() -> None:
    rate_limiter = RateLimiter(3)
    assert [rate_limiter.passes(1000 + second) for second in (0, 1, 2, 3, 59)] == [True, True, True, False, False]
    assert rate_limiter.held(1059) == 0, "the minute is not over"
    assert rate_limiter.held(1060) == 2
    assert rate_limiter.held(1060) == 0
    assert [rate_limiter.passes(1061) for _ in range(4)] == [True, True, True, False]
    other = RateLimiter(1)
    assert [other.passes(second) for second in (1000, 1061, 1122)] == [True, True, True]


# The broker


def test_a_broker_that_goes_and_comes_back_is_told_with_how_long(story: _Story) -> None:
    story.event_log.broker_connected()
    story.clock.advance(100)
    story.event_log.broker_ended(Disconnected(DisconnectReason.LOST, "the connection broke off"), 1)
    for _ in range(20):
        story.event_log.broker_ended(Disconnected(DisconnectReason.UNREACHABLE, "connection refused"), 5)
        story.clock.advance(5)
    story.event_log.broker_connected()
    assert story.events == [
        "connected to the broker",
        "lost the broker, trying on",
        "the broker cannot be reached, trying on",
        "connected to the broker",
    ]
    assert story.lines[-1]["after"] == "100 s"


def test_another_broker_is_a_beginning_but_what_was_said_of_stations_stays_said(story: _Story) -> None:
    story.event_log.broker_connected()
    story.event_log.broker_ended(Disconnected(DisconnectReason.LOST, "gone"), 1.0)
    story.poll(_REJECTED)
    said = len(story.lines)
    story.event_log.meet("other.example:1883", "other")
    story.clock.advance(100)
    story.event_log.broker_connected()
    connected = story.lines[said]
    assert (connected["message"], connected["broker"]) == ("connected to the broker", "other.example:1883")
    assert "after" not in connected
    story.event_log.broker_ended(Disconnected(DisconnectReason.LOST, "gone"), 1.0)
    assert story.events[-1] == "lost the broker, trying on"
    story.poll(_OK)
    assert story.events[-1] == "station is back"


def test_two_bridges_with_one_client_id_are_one_error_that_names_it(story: _Story) -> None:
    for _ in range(60):
        story.event_log.broker_connected()
        story.clock.advance(5)
        story.event_log.broker_ended(
            Disconnected(DisconnectReason.TAKEN_OVER, "another client took over this client id"), 10
        )
        story.clock.advance(10)
    assert [line["client_id"] for line in _warnings(story.lines)] == ["me"]
    assert len(story.lines) <= 3


@pytest.mark.parametrize("trouble", list(DisconnectReason))
def test_each_trouble_is_told_with_its_detail_and_the_next_attempt(story: _Story, trouble: DisconnectReason) -> None:
    story.event_log.broker_ended(Disconnected(trouble, "in these words"), 2.5)
    story.event_log.broker_ended(Disconnected(trouble, "in these words"), 5)
    [line] = story.lines
    assert (line["detail"], line["next_attempt"], line["broker"]) == ("in these words", "2.5 s", "localhost:1883")
    assert line["level"] in ("warning", "error")


# Text from outside

_HOSTILE = "\x1b[31mx\r\n2024-01-01T00:00:00Z [error] forged\u2028line\u202e\x00" + "y" * 10_000


@pytest.mark.parametrize("form", ["console", "json"])
def test_nothing_from_outside_leaves_its_line(clock: Clock, form: str) -> None:
    story = _Story(clock, form, "debug")
    station = Station("e1", 30, name=_HOSTILE)
    offline = reading(plug_reading(label=_HOSTILE, status="offline"))
    story.poll(offline, reading(plug_reading(label=_HOSTILE)), *[_REJECTED] * 2, station=station)
    story.event_log.publish_refused(f"evse/{_HOSTILE}", "Not authorized")
    lines = story.text.split("\n")
    assert len(lines) == len(story.text.splitlines()) + 1, "no other line break than the log's own"
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("2024-01-01")]
    assert max(map(len, lines)) < 1000


# Spans of time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (9.99, "10 s"),
        (12.4, "12 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_span_of_time_is_told_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
