"""What the tests of faults are made of: stations, configurations, a bridge whose log is watched."""

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
from tests.harness.proxy import Proxy

__all__ = [
    "AVAILABILITY",
    "PLUG",
    "assert_cadence",
    "broker_cloud_observer",
    "configure",
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
    "wait_until_up",
]

AVAILABILITY = "evse/bridge/availability"

PLUG = "c99838f9eb5b423d98f8ba33389a255c"
"""The one plug of most stations here."""

_MEASURED = ("status", "power", "current_l1", "current_l2", "current_l3", "dyn_current_limit", "time", "label")


def uuid_of(number: int) -> str:
    """The uuid of station `number`."""
    return f"{number:032x}"


def name_of(number: int) -> str:
    """What station `number` is called."""
    return f"Station {number}"


def station_answer(number: int, **changed: object) -> list[dict[str, Any]]:
    """An answer of station `number`, with its one plug."""
    return [plug_object(evse_uuid=uuid_of(number), plug_uuid=PLUG, **changed)]


def configure(
    folder: Path,
    broker: Mosquitto | Proxy,
    cloud: CloudServer | MisbehavingServer | str,
    stations: int | Sequence[Mapping[str, Any]] = 1,
    /,
    **tables: Mapping[str, Any],
) -> Path:
    """Writes `config.toml` in `folder`: polls every second, logs everything as JSON, no page; `tables` are merged in.

    `stations` are tables, or how many there are, from number 0 on.
    """
    if isinstance(stations, int):
        stations = [station_table(uuid_of(number), name=name_of(number)) for number in range(stations)]
    content: dict[str, Any] = {
        "mqtt": {"host": broker.host, "port": broker.port},
        "cloud": {"base_url": cloud if isinstance(cloud, str) else cloud.url},
        "polling": {"interval": 1, "stale_after": 0},
        "log": {"level": "debug", "format": "json"},
        "http": {"enabled": False},
    }
    for name, table in tables.items():
        content[name] = {**content.get(name, {}), **table}
    folder.mkdir(parents=True, exist_ok=True)
    return write_config(folder / "config.toml", {**content, "stations": [dict(station) for station in stations]})


@contextmanager
def broker_cloud_observer(folder: Path) -> Iterator[tuple[Mosquitto, CloudServer, Observer]]:
    """A broker, a cloud and an observer on the broker, for a scenario, which has no fixtures."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Observer(broker.port) as observer:
        yield broker, cloud, observer


def wait_until_up(observer: Observer, *numbers: int, base: str = "evse") -> None:
    """Returns when a bridge that was just started is online, and these stations with it."""
    for topic in (f"{base}/bridge", *(f"{base}/{uuid_of(number)}" for number in numbers)):
        observer.wait_for(f"{topic}/availability", "online", timeout=30)


@contextmanager
def running_bridge(
    config: Path, *, env: Mapping[str, str] | None = None, is_json: bool = True
) -> Iterator[BridgeProcess]:
    """A bridge. When it ends, its log is looked at: no line that is none, such as those of a traceback."""
    with BridgeProcess.run(config, env=env) as bridge:
        try:
            yield bridge
        except BaseException as error:
            error.add_note("\n".join(["the last lines of its log:", *bridge.stderr[-20:]]))
            raise
    assert "Traceback" not in bridge.stderr_text
    assert "asyncio complains" not in bridge.stderr_text
    if is_json:
        assert log_entries(bridge)


_LOOKUPS = """
import os, pathlib, socket, time

def getaddrinfo(host, *rest, _real=socket.getaddrinfo, **named):
    if host == "slow.test":
        pathlib.Path(os.environ["LOOKUP_BEGUN"]).touch()
        time.sleep(60)
    if host == "nowhere.test":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _real(host, *rest, **named)

socket.getaddrinfo = getaddrinfo
"""


def patched_name_lookups(folder: Path) -> dict[str, str]:
    """An environment in which `nowhere.test` is not found, and `slow.test` not within a minute.

    A lookup of the latter first makes the file that LOOKUP_BEGUN names.
    """
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_LOOKUPS)
    return {"PYTHONPATH": str(site)}


def log_entries(bridge: BridgeProcess, message: str = "", **known: object) -> list[dict[str, Any]]:
    """The lines of a log in JSON whose message contains `message`, and which have these further values."""
    found = [_entry(line) for line in bridge.stderr]
    return [
        entry for entry in found if message in entry["message"] and known.items() <= {**entry, "line": entry}.items()
    ]


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        raise AssertionError(f"not a line of the log: {line}") from None
    assert isinstance(entry, dict)
    assert {"message", "level", "timestamp"} <= entry.keys()
    return entry


def measurements(observer: Observer, number: int) -> dict[str, str]:
    """What stands on the measurement topics of station `number` now."""
    prefix = f"evse/{uuid_of(number)}/"
    return {
        topic: payload
        for topic, payload in observer.latest.items()
        if topic.startswith(prefix) and topic.rsplit("/", 1)[1] in _MEASURED
    }


def assert_cadence(requests: Sequence[Request], interval: float = 1.0, tolerance: float = 0.8) -> None:
    """Fails where these polls, but for the first, were not made once in each `interval`."""
    times = [request.at for request in requests][1:]
    assert len(times) > 2
    gaps = [round(later - earlier, 2) for earlier, later in pairwise(times)]
    assert max(gaps) < interval + tolerance, f"a poll is missing: {gaps}"
    assert abs(times[-1] - times[0] - len(gaps) * interval) < tolerance, f"off the grid: {gaps}"


def resident_memory(pid: int) -> int:
    """Resident memory of a process in bytes, at this moment."""
    return _memory(pid, "VmRSS")


def peak_memory(pid: int) -> int:
    """The most resident memory that a process ever had, in bytes."""
    return _memory(pid, "VmHWM")


def _memory(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(found.split()[1]) * 1024


def sleep_until(moment: float) -> None:
    """Returns at a moment of `time.monotonic`: for what must *not* happen until then, which has no event."""
    time.sleep(max(0.0, moment - time.monotonic()))


def wait_for(condition: Callable[[], object], timeout: float = 10, what: str = "the condition") -> None:
    """Returns once `condition` is true, where there is nothing that could be waited on."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)
