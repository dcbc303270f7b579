"""The cost of each step of a poll, measured in this process: CPU microseconds per poll, bytes per station."""

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
from evse_mqtt_bridge.cloud.parser import ResponseParser
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.polling.schedule import Schedule
from evse_mqtt_bridge.publishing.publication import Phase, Publication

__all__ = ["Costs", "costs", "memory"]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_INTERVAL = 10


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU microseconds per poll.

    Attributes:
        parse: Parsing and validation of the response.
        apply: Advancing the state and rendering changed messages, by the share of stations that change.
        schedule: Taking a due poll from the schedule and adding the next one.
    """

    parse: float
    apply: dict[float, float]
    schedule: float


class _Bridge:
    """Stations whose changes are rendered at once, as with a fast broker."""

    def __init__(self, config: Config) -> None:
        plan = publishing_plan(config)
        self.stations = Stations(plan.stations, plan.rules, started=0.0)
        self._publication = Publication(plan, self.stations, _BEGAN)
        self._publication.connected()
        while self._publication.restored() is not None:
            pass  # there are no retained messages
        self._publish()

    def poll(self, uuid: str, outcome: Outcome, moment: Moment) -> None:
        """Apply the outcome of a poll, and render its changes."""
        event = self.stations.apply_outcome(uuid, outcome, moment, 0.0)
        if event.has_changes:
            self._publication.station_changed(event.station, event.old, event.new)
            self._publish()

    def _publish(self) -> None:
        while True:
            while self._publication.next_message() is not None:
                pass
            if self._publication.phase is not Phase.MIGRATING:
                return
            self._publication.stage_acknowledged()


def costs(config_file: Path) -> Costs:
    """Measure the steps of a poll for the stations of a configuration."""
    config = load(config_file, {}).config
    bridge = _Bridge(config)
    uuids = [entry.uuid for entry in config.stations]
    _apply(bridge, _answers(uuids, 0, 0.0), 0)
    parsers = {uuid: ResponseParser(uuid) for uuid in uuids}
    parse_costs, apply_costs = [], {}
    for round_number, share in enumerate((0.0, 0.1, 0.5, 1.0), start=1):
        bodies = [(uuid, _body(uuid, round_number, changed)) for uuid, changed in _changes(uuids, share)]
        began = time.perf_counter()
        outcomes = [(uuid, parsers[uuid].parse(body)) for uuid, body in bodies]
        parse_costs.append((time.perf_counter() - began) / len(uuids) * 1e6)
        apply_costs[share] = _apply(bridge, outcomes, round_number) / len(uuids) * 1e6
    return Costs(min(parse_costs), apply_costs, _schedule_cost(uuids))


def _apply(bridge: _Bridge, outcomes: Iterable[tuple[str, Outcome]], round_number: int) -> float:
    """Apply one outcome per station and return the seconds that took; no heartbeat falls due."""
    moment = Moment(float(round_number * _INTERVAL), _BEGAN + timedelta(seconds=round_number * _INTERVAL))
    began = time.perf_counter()
    for uuid, outcome in outcomes:
        bridge.poll(uuid, outcome, moment)
    return time.perf_counter() - began


def _schedule_cost(uuids: list[str]) -> float:
    schedule = Schedule()
    for number, uuid in enumerate(uuids):
        schedule.put(uuid, number / len(uuids))
    began = time.perf_counter()
    for _ in uuids:
        due_poll = schedule.pop(1.0)
        if due_poll is None:
            raise RuntimeError("every poll must be due")
        schedule.put(due_poll.key, due_poll.due + 1.0)
    return (time.perf_counter() - began) / len(uuids) * 1e6


def _changes(uuids: list[str], share: float) -> Iterator[tuple[str, bool]]:
    step = round(1 / share) if share else len(uuids) + 1
    return ((uuid, number % step == step - 1) for number, uuid in enumerate(uuids))


def _answers(uuids: list[str], round_number: int, share: float) -> list[tuple[str, Outcome]]:
    return [(uuid, parse(_body(uuid, round_number, changed), uuid)) for uuid, changed in _changes(uuids, share)]


def _body(uuid: str, round_number: int, changed: bool) -> bytes:  # noqa: FBT001  # a column of a table
    """Return the response of the benchmarks' cloud for a station."""
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
    """Return the bytes per station by component, as tracemalloc counts them."""
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
        part("configuration", lambda: load(config_file, {}).config)
        config = kept[0]
        if not isinstance(config, Config):
            raise TypeError("the first part must be the configuration")
        part("prepared request", lambda: _requests(config))
        part("state with two plugs", lambda: _states(config))
        part("schedule entry", lambda: _filled_schedule(config))
        parts["a sleeping task, for comparison"] = asyncio.run(_tasks(count)) / count
    finally:
        tracemalloc.stop()
    return parts


def _requests(config: Config) -> list[object]:
    client = CloudClient(config.cloud)
    return [
        client.prepare(entry.edge_device_id, entry.uuid, entry.token.get_secret_value()) for entry in config.stations
    ]


def _states(config: Config) -> _Bridge:
    bridge = _Bridge(config)
    for entry in config.stations:  # one response at a time, as in operation
        _apply(bridge, _answers([entry.uuid], 0, 0.0), 0)
    return bridge


def _filled_schedule(config: Config) -> Schedule:
    schedule = Schedule()
    for number, entry in enumerate(config.stations):
        schedule.put(entry.uuid, float(number))
    return schedule


async def _tasks(count: int) -> int:
    """Return the bytes of `count` sleeping tasks."""
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(count)]
    await asyncio.sleep(0)
    after, _ = tracemalloc.get_traced_memory()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return after - before
