"""Values that no poll confirms are not live for longer than `stale_after`, whatever the cloud does instead."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.setup import (
    PLUG,
    ReportRow,
    configure,
    log_entries,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for,
    wait_until_up,
)
from tests.harness import Answer, CloudServer, Mosquitto, Observer, Request
from tests.harness.proxy import Proxy

_STATIONS = 5
_TOLERANCE = 2.5
"""Seconds within which the bridge evaluates the age of a value, with a reserve for a busy machine."""


def _fresh(number: int) -> Callable[[Request], list[dict[str, Any]]]:
    return lambda _: station_answer(number, time=datetime.now(UTC).isoformat())


def _topic(number: int, name: str) -> str:
    return f"evse/{uuid_of(number)}/{PLUG}/{name}"


def _previous_run(config: Path, cloud: CloudServer, observer: Observer) -> None:
    """Run the bridge until everything is published, and stop it."""
    for number in range(_STATIONS):
        cloud.answer(uuid_of(number), _fresh(number))
    with running_bridge(config) as bridge:
        wait_until_up(observer, *range(_STATIONS))
        observer.sync()
        bridge.stop()
    observer.wait_for("evse/bridge/availability", "offline")


def test_restart_into_a_long_pause_ends_as_stale(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """The first request after a restart gets Retry-After of an hour, so that no other station is polled."""
    config = configure(tmp_path, broker, cloud, _STATIONS, polling={"stale_after": 4}, cloud={"max_concurrency": 1})
    _previous_run(config, cloud, observer)
    for number in range(_STATIONS):
        cloud.answer(uuid_of(number), Answer("slow down", 429, {"Retry-After": "3600"}))
    polled = len(cloud.requests)
    with running_bridge(config) as bridge:
        wait_until_up(observer)
        began = time.monotonic()
        for number in range(_STATIONS):
            observer.wait_for(_topic(number, "availability"), "offline", timeout=4 + _TOLERANCE)
        reasons = [observer.wait_for(_topic(number, "availability_reason")) for number in range(_STATIONS)]
        assert sorted(reasons) == ["rate_limited", *["stale"] * (_STATIONS - 1)]
        assert len(cloud.requests) == polled + 1
        observer.wait_for("evse/bridge/availability", "online")
        report_row(7, f"all plugs offline {time.monotonic() - began:.1f} s after the start into an hour's pause")
        bridge.stop()
    assert len(log_entries(bridge, "plug_unavailable", reason="stale")) == _STATIONS - 1


def test_failure_before_the_manifest_is_read_counts(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    """The broker's retained messages arrive after the first failure of each station, and no further poll is due."""
    with Proxy(broker.port) as proxy:
        config = configure(tmp_path, proxy, cloud, _STATIONS, polling={"interval": 60})
        _previous_run(config, cloud, observer)
        for number in range(_STATIONS):
            cloud.answer(uuid_of(number), Answer("overloaded", 503))
        proxy.pause()
        polled = len(cloud.requests)
        with running_bridge(config) as bridge:
            cloud.wait_for_requests(polled + _STATIONS)
            wait_for(lambda: len(log_entries(bridge, "poll_failed")) == _STATIONS)
            proxy.restore()
            for number in range(_STATIONS):
                observer.wait_for(f"evse/{uuid_of(number)}/availability_reason", "server_error")
                observer.wait_for(_topic(number, "availability_reason"), "server_error")
                observer.wait_for(_topic(number, "availability"), "offline")
            assert len(cloud.requests) == polled + _STATIONS
            bridge.stop()
        for number in range(_STATIONS):
            (entry,) = log_entries(bridge, "station_unavailable", station=name_of(number))
            assert entry["detail"] == "HTTP 503 Service Unavailable"


def test_values_become_stale_while_the_cloud_hangs(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """The cloud accepts requests and never answers; the first poll is still under way when the values are too old."""
    measured: dict[str, float] = {}

    def once(number: int) -> Callable[[Request], list[dict[str, Any]] | Answer]:
        def respond(request: Request) -> list[dict[str, Any]] | Answer:
            if request.uuid in measured:
                return Answer(hang=True)
            measured[request.uuid] = time.monotonic()
            return station_answer(number, time=datetime.now(UTC).isoformat())

        return respond

    for number in range(_STATIONS):
        cloud.answer(uuid_of(number), once(number))
    config = configure(tmp_path, broker, cloud, _STATIONS, polling={"stale_after": 4}, cloud={"timeout": 60})
    with running_bridge(config) as bridge:
        wait_until_up(observer, *range(_STATIONS))
        for number in range(_STATIONS):
            observer.wait_for(_topic(number, "availability"), "offline", timeout=4 + _TOLERANCE)
            assert observer.latest[_topic(number, "availability_reason")] == "stale"
        ages = [_went_offline(observer, number) - measured[uuid_of(number)] for number in range(_STATIONS)]
        assert all(4 <= age < 4 + _TOLERANCE for age in ages)
        assert not log_entries(bridge, "poll_failed")
        report_row(15, f"stale {max(ages):.1f} s after the measurement, without a poll")
        bridge.stop()


def _went_offline(observer: Observer, number: int) -> float:
    """Return when the only plug of a station turned offline, in seconds of `time.monotonic`."""
    topic = _topic(number, "availability")
    return next(message.at for message in observer.messages if (message.topic, message.payload) == (topic, "offline"))
