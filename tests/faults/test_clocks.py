"""Row 20 of the fault contract: the system clock jumps, and the time zone has daylight saving time."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.faults.setup import (
    PLUG,
    ReportRow,
    assert_cadence,
    broker_cloud_observer,
    configure,
    jumping_clock,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for,
    wait_for_event,
    wait_until_up,
)
from tests.harness.net import HOST, free_port


def _jumps(folder: Path) -> str:
    """Move the clock forward by two hours and back, in a zone with daylight saving time."""
    env, jump = jumping_clock(folder)
    env["TZ"] = "America/New_York"
    with broker_cloud_observer(folder) as (broker, cloud, observer):
        # Half past one in the night in which clocks are set back in this zone, so that the hour occurs twice.
        cloud.answer(uuid_of(0), station_answer(0, time="2024-11-03T01:30:00.250-04:00"))
        cloud.answer(uuid_of(1), lambda _: station_answer(1, time=datetime.now(UTC).isoformat()))
        with running_bridge(configure(folder, broker, cloud, 2, polling={"stale_after": 1200}), env=env) as bridge:
            wait_until_up(observer, 0, 1)
            observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/time", "2024-11-03T05:30:00.250Z")
            started = json.loads(observer.wait_for("evse/bridge/info"))["started"]
            assert abs((datetime.fromisoformat(started) - datetime.now(UTC)).total_seconds()) < 60
            cloud.wait_for_requests(4, uuid_of(1))
            for seconds in (7200, -7200):
                jump.write_text(str(seconds))
                # By this clock, the values are two hours old or two hours in the future.
                observer.wait_for(f"evse/{uuid_of(1)}/{PLUG}/availability_reason", "stale")
                jump.write_text("0")
                observer.wait_for(f"evse/{uuid_of(1)}/{PLUG}/availability_reason", "online")
            requests = cloud.wait_for_requests(len(cloud.requests_of(uuid_of(1))) + 1, uuid_of(1))
            assert_cadence(requests)
            bridge.stop()
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
        stamps = [entry["timestamp"] for entry in log_entries(bridge)]
        assert any(abs(_seconds_ago(stamp)) > 3600 for stamp in stamps), "the bridge's clock must have jumped"
        assert all(stamp.endswith("Z") for stamp in stamps)
        return f"clock moved forward and back by 2 h: {len(requests)} polls on time; started {started}"


def test_clock_jump_does_not_affect_the_poll_cadence(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 20: polls follow the monotonic clock; published and logged times are in UTC."""
    report_row(20, _jumps(tmp_path))


def _starts_in_1970(folder: Path) -> str:
    """Start on a machine without a battery for its clock; a time server sets it after the first polls."""
    env, jump = jumping_clock(folder)
    jump.write_text(str(300 - time.time()))
    port = free_port()
    with broker_cloud_observer(folder) as (broker, cloud, observer):
        cloud.answer(uuid_of(0), station_answer(0))
        config = configure(folder, broker, cloud, http={"enabled": True, "port": port})
        with running_bridge(config, env=env) as bridge:
            wait_until_up(observer, 0)
            wait_for(lambda: _snapshot(port)["stations"][0]["since"])
            before = _snapshot(port)
            assert before["bridge"]["started"].startswith("1970-01-01T00:0")
            jump.write_text("0")
            wait_for_event(bridge, "clock_changed")
            observer.wait(lambda: not observer.latest["evse/bridge/info"].count("1970-"))
            after = _snapshot(port)
            station = after["stations"][0]
            times = {
                "at": after["at"],
                "started": after["bridge"]["started"],
                "info": json.loads(observer.latest["evse/bridge/info"])["started"],
                "broker since": after["broker"]["since"],
                "station since": station["since"],
                "plug since": station["plugs"][0]["since"],
                "polled": station["polled"],
            }
            assert {name: abs(_seconds_ago(stamp)) < 60 for name, stamp in times.items()} == dict.fromkeys(times, True)
            assert abs(station["plugs"][0]["steps"][0][0] - time.time() / 60) < 2
            metrics = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False).text
            (started,) = re.findall(r"^evse_mqtt_bridge_start_time_seconds (\S+)", metrics, re.MULTILINE)
            assert abs(float(started) - time.time()) < 60
            bridge.stop()
        assert len(log_entries(bridge, "clock_changed", level="info")) == 1
        return f"started at {before['bridge']['started']}; after the clock was set: {after['bridge']['started']}"


def test_clock_set_after_the_start_corrects_all_times(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 20: start time, uptime, `since` and the status page are right as soon as the clock is."""
    report_row(20, _starts_in_1970(tmp_path))


def _snapshot(port: int) -> Any:  # noqa: ANN401  # JSON
    return httpx.get(f"http://{HOST}:{port}/api/picture", trust_env=False).json()


def _seconds_ago(stamp: str) -> float:
    return time.time() - datetime.fromisoformat(stamp).timestamp()
