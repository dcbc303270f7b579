"""What each step of the line costs by itself, in this process: microseconds of a poll, bytes of a station."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.cloud import plugs_of
from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Message, Outcome, StationState
from evse_mqtt_bridge.polling.schedule import Schedule
from evse_mqtt_bridge.publishing.migration import Transition
from evse_mqtt_bridge.publishing.publication import Bridge

__all__ = ["Costs", "costs", "memory"]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_INTERVAL = 10


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of a poll; `taken` is the state moved on and what changed put into words, by share that changed."""

    parsed: float
    taken: dict[float, float]
    scheduled: float


class _Nowhere:
    """Draws the news of a bridge to its end, as a broker does that is quick."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def publish(self, key: str, told: StationState) -> None:
        for _ in self._bridge.news(key, told):
            pass

    def publish_last(self, messages: Iterable[Message]) -> None:
        raise NotImplementedError

    def publish_anew(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        raise NotImplementedError

    def change(self, transition: Transition) -> None:
        raise NotImplementedError


def costs(config_file: Path) -> Costs:
    """Of the stations of a configuration."""
    config = load(config_file, {}).config
    bridge = Bridge(publishing_plan(config), _BEGAN)
    uuids = [entry.uuid for entry in config.stations]
    _take(bridge, _answers(uuids, 0, 0.0), 0)
    parsed, taken = [], {}
    for round_number, share in enumerate((0.0, 0.1, 0.5, 1.0), start=1):
        bodies = [(uuid, _body(uuid, round_number, changed)) for uuid, changed in _changes(uuids, share)]
        began = time.perf_counter()
        outcomes = [(uuid, parse(body, uuid)) for uuid, body in bodies]
        parsed.append((time.perf_counter() - began) / len(uuids) * 1e6)
        taken[share] = _take(bridge, outcomes, round_number) / len(uuids) * 1e6
    return Costs(min(parsed), taken, _schedule(uuids))


def _take(bridge: Bridge, outcomes: Iterable[tuple[str, Outcome]], round_number: int) -> float:
    """Seconds that one round of outcomes takes; no heartbeat is due in it."""
    moment = Moment(float(round_number * _INTERVAL), _BEGAN + timedelta(seconds=round_number * _INTERVAL))
    nowhere = _Nowhere(bridge)
    began = time.perf_counter()
    for uuid, outcome in outcomes:
        bridge.take(uuid, outcome, moment, nowhere)
    return time.perf_counter() - began


def _schedule(uuids: list[str]) -> float:
    agenda = Schedule()
    for number, uuid in enumerate(uuids):
        agenda.put(uuid, number / len(uuids))
    began = time.perf_counter()
    for _ in uuids:
        turn = agenda.pop(1.0)
        if turn is None:
            raise RuntimeError("everything is due")
        agenda.put(turn[0], turn[1] + 1.0)
    return (time.perf_counter() - began) / len(uuids) * 1e6


def _changes(uuids: list[str], share: float) -> Iterator[tuple[str, bool]]:
    step = round(1 / share) if share else len(uuids) + 1
    return ((uuid, number % step == step - 1) for number, uuid in enumerate(uuids))


def _answers(uuids: list[str], round_number: int, share: float) -> list[tuple[str, Outcome]]:
    return [(uuid, parse(_body(uuid, round_number, changed), uuid)) for uuid, changed in _changes(uuids, share)]


def _body(uuid: str, round_number: int, changed: bool) -> bytes:  # noqa: FBT001  # a column of a table
    """The answer of a station, as the cloud of the benchmarks gives it."""
    at = (_BEGAN + timedelta(seconds=round_number * _INTERVAL)).isoformat(timespec="milliseconds")
    current, power = (10.0 + round_number / 8, 7000.0 + round_number) if changed else (10.3, 7107.0)
    plugs = [
        {"status": "idle", **dict.fromkeys(("current_l1", "current_l2", "current_l3", "power"), 0)},
        {"status": "charging", **dict.fromkeys(("current_l1", "current_l2", "current_l3"), current), "power": power},
    ]
    return json.dumps(
        [
            {"time": at.replace("+00:00", "Z"), "plug_uuid": plug, "evse_uuid": uuid, "dyn_current_limit": 12, **values}
            | {"plug_label": f"Plug {number}"}
            for number, (plug, values) in enumerate(zip(plugs_of(uuid), plugs, strict=True), start=1)
        ]
    ).encode()


def memory(config_file: Path) -> dict[str, float]:
    """Bytes of a station, by what holds them: Python's own count of what is allocated and kept."""
    parts: dict[str, float] = {}
    kept: list[object] = []
    stations = load(config_file, {}).config.stations
    count = len(stations)

    def part(name: str, make: Callable[[], object]) -> None:
        before, _ = tracemalloc.get_traced_memory()
        kept.append(make())
        parts[name] = (tracemalloc.get_traced_memory()[0] - before) / count

    tracemalloc.start()
    try:
        part("the configuration, as read", lambda: load(config_file, {}).config)
        config = kept[0]
        if not isinstance(config, Config):
            raise TypeError("what is kept first is the configuration")
        part("the request, made once", lambda: _requests(config))
        part("the state, with two plugs that have answered", lambda: _states(config))
        part("the place on the agenda", lambda: _filled_schedule(config))
        parts["a task asleep, which there are none of"] = asyncio.run(_tasks(count)) / count
    finally:
        tracemalloc.stop()
    return parts


def _requests(config: Config) -> list[object]:
    client = CloudClient(config.cloud)
    return [
        client.prepare(entry.edge_device_id, entry.uuid, entry.token.get_secret_value()) for entry in config.stations
    ]


def _states(config: Config) -> Bridge:
    bridge = Bridge(publishing_plan(config), _BEGAN)
    for entry in config.stations:  # one answer at a time, as they come
        _take(bridge, _answers([entry.uuid], 0, 0.0), 0)
    return bridge


def _filled_schedule(config: Config) -> Schedule:
    agenda = Schedule()
    for number, entry in enumerate(config.stations):
        agenda.put(entry.uuid, float(number))
    return agenda


async def _tasks(count: int) -> int:
    """Bytes of so many tasks, each asleep until its next poll."""
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0)
    after, _ = tracemalloc.get_traced_memory()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return after - before
