"""Half of 400 stations hang at the default settings: the cadence of the others, and when the dead ones are reported."""

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from benchmarks.broker import Broker
from benchmarks.cloud import uuid_of
from benchmarks.effort import FULL, Effort
from benchmarks.report import Table
from benchmarks.subscriber import Subscriber
from tests.harness import Answer, BridgeProcess, CloudServer, Request, plug_object

__all__ = ["hanging"]

_STATIONS = 400
_INTERVAL = 30.0
_DETECTION = 180.0
"""Seconds after which each hanging station has failed for the first time; until then they use every slot."""


def hanging(effort: Effort) -> Iterator[Table]:
    """Poll 400 stations; after a minute, every second one accepts requests and does not answer."""
    window = 240.0 if effort is FULL else 60.0
    stations = [uuid_of(number) for number in range(_STATIONS)]
    hanging_ones, others = set(stations[::2]), stations[1::2]
    online: dict[str, float] = {}
    dead: dict[str, float] = {}

    def record(topic: str, reason: bytes) -> None:
        (online if reason == b"online" else dead).setdefault(topic, time.monotonic())

    with tempfile.TemporaryDirectory(prefix="evse-bench-") as name, Broker(Path(name) / "broker") as broker:
        config = Path(name) / "config.toml"
        with CloudServer() as cloud, Subscriber(broker.port, "evse/+/availability_reason", on_message=record):
            config.touch(mode=0o600)
            config.write_text(_config(broker.port, cloud.url, stations))
            for uuid in stations:
                cloud.answer(uuid, _respond)
            with BridgeProcess.run(config):
                _wait_until_all(online, _STATIONS, 120)
                time.sleep(2 * _INTERVAL)
                began = time.monotonic()
                for uuid in hanging_ones:
                    cloud.answer(uuid, lambda _: Answer(hang=True))
                time.sleep(_DETECTION + window)
                _wait_until_all(dead, len(hanging_ones), 900)
            polls = cloud.requests_of()
    first, last = min(dead.values()) - began, max(dead.values()) - began
    detected = began + _DETECTION
    before, after = [poll for poll in polls if poll.at < detected], [poll for poll in polls if poll.at >= detected]
    rows = (
        ("first of 200 dead stations reported", f"{first:.0f}", "-", "-"),
        ("all of them reported", f"{last:.0f}", "-", "-"),
        (f"gaps of the others, first {_DETECTION:.0f} s", *_gaps(before, others, began)),
        ("gaps of the others, then", *_gaps(after, others, began)),
    )
    yield Table("hanging", ("seconds, interval 30 s", "median", "p99", "worst"), rows)


def _config(broker: int, cloud: str, stations: list[str]) -> str:
    head = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker}\n[cloud]\nbase_url = "{cloud}"\n[http]\nenabled = false\n'
    return head + "".join(f'[[stations]]\nedge_device_id = "e"\nuuid = "{uuid}"\ntoken = "t"\n' for uuid in stations)


def _respond(request: Request) -> list[dict[str, object]]:
    return [plug_object(evse_uuid=request.uuid, plug_uuid=request.uuid, time=datetime.now(UTC).isoformat())]


def _wait_until_all(reported: dict[str, float], count: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while len(reported) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {count} stations, {len(reported)} were reported")
        time.sleep(0.5)


def _gaps(polls: list[Request], stations: list[str], since: float) -> tuple[str, str, str]:
    """Return the median, the 99th percentile and the longest gap between two polls of a station, in seconds."""
    times: dict[str, list[float]] = {uuid: [] for uuid in stations}
    for poll in polls:
        if poll.uuid in times and poll.at >= since:
            times[poll.uuid].append(poll.at)
    gaps = sorted(later - earlier for polled in times.values() for earlier, later in pairwise(polled))
    return f"{gaps[len(gaps) // 2]:.1f}", f"{gaps[len(gaps) * 99 // 100]:.1f}", f"{gaps[-1]:.1f}"
