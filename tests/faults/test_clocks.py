"""Row 20 of the fault contract: the system clock jumps, and the time zone has daylight saving time."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.setup import (
    PLUG,
    ReportRow,
    assert_cadence,
    broker_cloud_observer,
    configure,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_until_up,
)

_JUMPING_CLOCK = """
import datetime, os, pathlib, time

_jump = pathlib.Path(os.environ["CLOCK_JUMP"])
_real_time = time.time

def _now():
    return _real_time() + float(_jump.read_text() or 0)

class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_now(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(_now(), datetime.timezone.utc).replace(tzinfo=None)

time.time = _now
time.time_ns = lambda: int(_now() * 1e9)
datetime.datetime = _Datetime
"""
"""A sitecustomize module that shifts the wall clock by the number of seconds in a file, but not the monotonic clock."""


def _jumps(folder: Path) -> str:
    """Move the clock forward by two hours and back, in a zone with daylight saving time."""
    site, jump = folder / "site", folder / "jump"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    jump.write_text("0")
    env = {"PYTHONPATH": str(site), "CLOCK_JUMP": str(jump), "TZ": "America/New_York"}
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


def _seconds_ago(stamp: str) -> float:
    return time.time() - datetime.fromisoformat(stamp).timestamp()
