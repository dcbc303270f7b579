"""Helpers of the fault tests: stations, configurations, a bridge whose log is checked."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, Request, plug_object, station_table
from tests.harness.configuration import write_config
from tests.harness.misbehaving_server import MisbehavingServer
from tests.harness.other_brokers import OtherBroker
from tests.harness.proxy import Proxy
from tests.harness.strict_proxy import StrictProxy

__all__ = [
    "AVAILABILITY",
    "PLUG",
    "ReportRow",
    "assert_cadence",
    "broker_cloud_observer",
    "configure",
    "jumping_clock",
    "log_entries",
    "measurements",
    "name_of",
    "patched_name_lookups",
    "peak_memory",
    "resident_memory",
    "running_bridge",
    "sleep_until",
    "station_answer",
    "uuid_of",
    "wait_for",
    "wait_for_event",
    "wait_until_up",
]

ReportRow = Callable[[int, str], None]
"""Reports the number of a contract row and one line about it; the type of the fixture `report_row`."""

AVAILABILITY = "evse/bridge/availability"

PLUG = "c99838f9eb5b423d98f8ba33389a255c"
"""The only plug of most stations in these tests."""

_MEASUREMENTS = ("status", "power", "current_l1", "current_l2", "current_l3", "dyn_current_limit", "time", "label")


def uuid_of(number: int) -> str:
    """Return the uuid of station `number`."""
    return f"{number:032x}"


def name_of(number: int) -> str:
    """Return the name of station `number`."""
    return f"Station {number}"


def station_answer(number: int, **changed: object) -> list[dict[str, Any]]:
    """Return the cloud's response for station `number` with one plug, with some fields changed."""
    return [plug_object(evse_uuid=uuid_of(number), plug_uuid=PLUG, **changed)]


def configure(
    folder: Path,
    broker: Mosquitto | Proxy | StrictProxy | OtherBroker,
    cloud: CloudServer | MisbehavingServer | str,
    stations: int | Sequence[Mapping[str, Any]] = 1,
    /,
    **tables: Mapping[str, Any],
) -> Path:
    """Write `config.toml` for a bridge that polls every second and logs everything as JSON, without page and history.

    Args:
        folder: Where to write it.
        broker: The broker, or the proxy in front of it.
        cloud: The server to poll, or its URL.
        stations: `[[stations]]` tables, or the number of stations, which are numbered from 0.
        tables: Further settings to merge in.
    """
    if isinstance(stations, int):
        stations = [station_table(uuid_of(number), name=name_of(number)) for number in range(stations)]
    content: dict[str, Any] = {
        "mqtt": {"host": broker.host, "port": broker.port},
        "cloud": {"base_url": cloud if isinstance(cloud, str) else cloud.url},
        "polling": {"interval": 1, "stale_after": 0},
        "log": {"level": "debug", "format": "json"},
        "http": {"enabled": False},
        "history": {"enabled": False},
    }
    for name, table in tables.items():
        content[name] = {**content.get(name, {}), **table}
    folder.mkdir(parents=True, exist_ok=True)
    return write_config(folder / "config.toml", {**content, "stations": [dict(station) for station in stations]})


@contextmanager
def broker_cloud_observer(folder: Path) -> Iterator[tuple[Mosquitto, CloudServer, Observer]]:
    """Start a broker, a cloud and an observer of the broker, for code that has no fixtures."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Observer(broker.port) as observer:
        yield broker, cloud, observer


def wait_until_up(observer: Observer, *numbers: int, base: str = "evse") -> None:
    """Wait until a bridge that has just started is online, with these stations."""
    for topic in (f"{base}/bridge", *(f"{base}/{uuid_of(number)}" for number in numbers)):
        observer.wait_for(f"{topic}/availability", "online", timeout=30)


@contextmanager
def running_bridge(
    config: Path, *, env: Mapping[str, str] | None = None, is_json: bool = True
) -> Iterator[BridgeProcess]:
    """Run a bridge; afterwards check its log: no traceback, and each line is a JSON entry if `is_json`."""
    with BridgeProcess.run(config, env=env) as bridge:
        try:
            yield bridge
        except BaseException as error:
            error.add_note("\n".join(["last lines of the bridge's log:", *bridge.stderr[-20:]]))
            raise
    assert "Traceback" not in bridge.stderr_text
    assert "error in the event loop" not in bridge.stderr_text
    if is_json:
        assert log_entries(bridge)


def jumping_clock(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of a bridge whose clock jumps, and the file with the jump."""
    site, jump = folder / "site", folder / "jump"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_JUMPING_CLOCK)
    jump.write_text("0")
    return {"PYTHONPATH": f"{site}:{Path(__file__).parents[2]}", "CLOCK_JUMP": str(jump)}, jump


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


_LOOKUPS = """
import os, pathlib, socket, time

def getaddrinfo(host, *rest, _real=socket.getaddrinfo, **named):
    if host == "slow.test":
        pathlib.Path(os.environ["LOOKUP_STARTED"]).touch()
        time.sleep(60)
    if host == "nowhere.test":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _real(host, *rest, **named)

socket.getaddrinfo = getaddrinfo
"""


def patched_name_lookups(folder: Path) -> dict[str, str]:
    """Return an environment for the bridge in which `nowhere.test` does not resolve, and `slow.test` takes a minute.

    A lookup of `slow.test` creates the file named by LOOKUP_STARTED before it blocks.
    """
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_LOOKUPS)
    return {"PYTHONPATH": str(site)}


def log_entries(bridge: BridgeProcess, *events: str, **values: object) -> list[dict[str, Any]]:
    """Return the entries of a JSON log with one of these event ids (all entries without ids) and with these values."""
    entries = [_parse_entry(line) for line in bridge.stderr]
    return [
        entry for entry in entries if (not events or entry.get("event") in events) and values.items() <= entry.items()
    ]


def wait_for_event(bridge: BridgeProcess, event: str, timeout: float = 30) -> None:
    """Wait for a log entry with this event id."""
    bridge.wait_for_line(f'"event": "{event}"', timeout)


def _parse_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        raise AssertionError(f"not a JSON log entry: {line}") from None
    assert isinstance(entry, dict)
    assert {"message", "level", "timestamp"} <= entry.keys()
    return entry


def measurements(observer: Observer, number: int) -> dict[str, str]:
    """Return the payloads of the current measurements of station `number`, by topic."""
    prefix = f"evse/{uuid_of(number)}/"
    return {
        topic: payload
        for topic, payload in observer.latest.items()
        if topic.startswith(prefix) and topic.rsplit("/", 1)[1] in _MEASUREMENTS
    }


def assert_cadence(requests: Sequence[Request], interval: float = 1.0, tolerance: float = 0.8) -> None:
    """Fail unless these polls, except the first, were made once per interval.

    Args:
        requests: The polls of one station, in order.
        interval: Seconds between two polls.
        tolerance: Seconds by which a poll, and the last one overall, may be late.
    """
    times = [request.at for request in requests][1:]
    assert len(times) > 2
    gaps = [round(later - earlier, 2) for earlier, later in pairwise(times)]
    assert max(gaps) < interval + tolerance, f"a poll is missing; gaps in seconds: {gaps}"
    assert abs(times[-1] - times[0] - len(gaps) * interval) < tolerance, f"polls drift; gaps in seconds: {gaps}"


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process at this moment, in bytes."""
    return _memory(pid, "VmRSS")


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process since its start, in bytes."""
    return _memory(pid, "VmHWM")


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(found.split()[1]) * 1024


def sleep_until(moment: float) -> None:
    """Sleep until a moment of `time.monotonic`: to check that something does *not* happen before."""
    time.sleep(max(0.0, moment - time.monotonic()))


def wait_for(condition: Callable[[], object], timeout: float = 10, what: str = "the condition") -> None:
    """Wait until `condition` is true, by polling it, for conditions without an event to wait for."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)
