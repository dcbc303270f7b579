"""The snapshot of a running bridge: the data of the status page, `status`, `watch` and scripts.

It is created on request from the states of the stations and the history. It contains addresses, names and measurements,
but no secrets. `/api/picture` serves it as JSON (`to_json`, `from_json`). The keys are part of the API: if an attribute
has another name, an alias keeps the key.

Thousands of stations take a while. So their snapshots are created one by one (`station_snapshots`) and serialised one
by one (`station_json`); `snapshot_json` joins them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from evse_mqtt_bridge.domain.model import PlugState, Reason, Station, StationState
from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot
from evse_mqtt_bridge.observability.history import History, StationHistory
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.publishing.plan import Plan

__all__ = [
    "BridgeSnapshot",
    "BrokerSnapshot",
    "Health",
    "PlugSnapshot",
    "Snapshot",
    "StationSnapshot",
    "StationStates",
    "Step",
    "from_json",
    "snapshot_json",
    "station_json",
    "station_snapshot",
    "station_snapshots",
    "to_json",
]

Step = tuple[int, float | None]
"""A minute, counted since 1970-01-01 in UTC, and the power of a plug from then on (W; `None`: unknown)."""


@dataclass(frozen=True, slots=True)
class PlugSnapshot:
    """A plug. Measurements are those of its topics (A, W); `None` before the first one.

    Attributes:
        name: Name, label, alias or uuid.
        topic: The common prefix of its topics, without a trailing slash.
        time: The time of the measurement, in UTC.
        reason: `None` until enough polls have completed.
        since: When `reason` last changed, in UTC.
        steps: The power of the last hour; each value is valid until the next step.
        energy: Energy charged into vehicles, in kWh; `None` until the counts of the previous run are known, like the
            other counts.
        energy_discharged: Energy discharged from vehicles, in kWh.
        energy_gap: Seconds for which the energy is unknown.
        session_energy: Energy charged in the open session, else in the last one, in kWh; 0 before the first session.
        session_started: When the open session started, in UTC; `None`: no vehicle is connected.
    """

    uuid: str
    name: str
    topic: str
    status: str | None
    power: float | None
    current_l1: float | None
    current_l2: float | None
    current_l3: float | None
    dyn_current_limit: float | None
    time: datetime | None
    reason: Reason | None
    since: datetime | None
    steps: tuple[Step, ...]
    energy: float | None = None
    energy_discharged: float | None = None
    energy_gap: float | None = None
    session_energy: float | None = None
    session_started: datetime | None = None


@dataclass(frozen=True, slots=True)
class StationSnapshot:
    """A station. Times are in UTC.

    Attributes:
        name: Name, alias or uuid.
        topic: The common prefix of its topics, without a trailing slash.
        interval: Seconds between two polls.
        reason: `None` until enough polls have completed.
        since: When `reason` last changed.
        polled: When the last poll completed.
        consecutive_failures: Failed polls since the last useful response.
        error: The detail of the last failed poll; kept after the station has recovered.
        error_at: When that poll failed.
        note: The notes about the last useful response.
        revision: The history's revision at the last change of the station.
        next_poll: When the station is polled next; `None` while a request is running, or if it is unknown.
    """

    uuid: str
    name: str
    topic: str
    interval: float
    reason: Reason | None
    since: datetime | None
    polled: datetime | None
    consecutive_failures: Annotated[int, Field(alias="misses")]
    error: str
    error_at: datetime | None
    note: str
    plugs: tuple[PlugSnapshot, ...]
    revision: int
    next_poll: datetime | None = None


@dataclass(frozen=True, slots=True)
class BrokerSnapshot:
    """The broker.

    Attributes:
        address: Host and port.
        since: When the connection began or ended, in UTC.
        error: Why the broker is not connected; empty: it is connected, or the first attempt is under way.
    """

    address: str
    connected: bool
    since: datetime
    error: Annotated[str, Field(alias="trouble")]


@dataclass(frozen=True, slots=True)
class BridgeSnapshot:
    """The bridge itself.

    Attributes:
        started: When the bridge started, in UTC.
        cloud: The base URL of the API.
        transport: The library that carries the requests.
    """

    version: str
    client_id: str
    base_topic: str
    started: datetime
    cloud: str
    transport: str


@dataclass(frozen=True, slots=True)
class Health:
    """Liveness and readiness (see health.py), with a message for each problem."""

    healthy: bool
    ready: bool
    messages: Annotated[tuple[str, ...], Field(alias="words")]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The bridge with its broker and all stations.

    Attributes:
        at: When the snapshot was created, in UTC.
        revision: The history's revision at that time.
        fleet: The fleet; `None`: the bridge is no member of one.
    """

    at: datetime
    bridge: BridgeSnapshot
    broker: BrokerSnapshot
    health: Health
    stations: tuple[StationSnapshot, ...]
    revision: int
    fleet: FleetSnapshot | None = None


@cache
def _snapshot_adapter() -> TypeAdapter[Snapshot]:
    """Return Pydantic's code for snapshots, built when it is needed, as a start without it is faster."""
    return TypeAdapter(Snapshot)


@cache
def _station_adapter() -> TypeAdapter[StationSnapshot]:
    return TypeAdapter(StationSnapshot)


def to_json(snapshot: Snapshot) -> bytes:
    """Return a snapshot as JSON. Times are ISO 8601 in UTC with `Z`."""
    return snapshot_json(snapshot, map(station_json, snapshot.stations))


def station_json(station: StationSnapshot) -> bytes:
    """Return one station as JSON, as it appears in the JSON of a snapshot."""
    return _station_adapter().dump_json(station, by_alias=True)


def snapshot_json(snapshot: Snapshot, stations: Iterable[bytes]) -> bytes:
    """Return the JSON of a snapshot, with the JSON of these stations instead of its own."""
    without_stations = _snapshot_adapter().dump_json(snapshot, exclude={"stations"}, by_alias=True)
    return b"".join((without_stations[:-1], b',"stations":[', b",".join(stations), b"]}"))


def from_json(text: bytes) -> Snapshot:
    """Return the snapshot from its JSON.

    Raises:
        ValueError: The text is not the JSON of a snapshot, or is from another version of the bridge.
    """
    try:
        return _snapshot_adapter().validate_json(text)
    except ValidationError as error:
        raise ValueError("not a snapshot of a bridge of this version") from error


class StationStates(Protocol):
    """The stations of the current plan and their states."""

    @property
    def plan(self) -> Plan:
        """The current plan."""

    def state(self, uuid: str) -> StationState:
        """Return the state of a station of the plan."""

    def next_poll(self, uuid: str) -> datetime | None:
        """Return when a station is polled next, in UTC; `None` while a request is running, or if it is unknown."""


def station_snapshots(
    states: StationStates, history: History, after: int = -1, *, steps: bool = True
) -> Iterator[StationSnapshot]:
    """Yield the snapshot of each station, created when the caller requests it.

    The iteration ends early if another plan is applied meanwhile.

    Args:
        after: Skip stations that have not changed since this revision of the history; -1 skips none.
        steps: Whether to include the power of the last hour.
    """
    plan = states.plan
    for uuid, station in plan.stations.items():
        if states.plan is not plan:
            return
        station_history = history.station(uuid)
        if station_history.revision > after:
            state, next_poll = states.state(uuid), states.next_poll(uuid)
            yield station_snapshot(plan, station, state, station_history, next_poll, steps=steps)


def station_snapshot(  # noqa: PLR0913  # one argument per part of a snapshot
    plan: Plan,
    station: Station,
    state: StationState,
    history: StationHistory,
    next_poll: datetime | None = None,
    *,
    steps: bool = True,
) -> StationSnapshot:
    """Return the snapshot of one station.

    Args:
        plan: The current plan, with the topics.
        station: The station.
        state: Its state.
        history: Its history.
        next_poll: When it is polled next, in UTC.
        steps: Whether to include the power of the last hour.
    """
    return StationSnapshot(
        uuid=station.uuid,
        name=station.title,
        topic=plan.topics.station(station.topic_id).rstrip("/"),
        interval=station.interval,
        reason=state.reason,
        since=history.since,
        polled=history.polled,
        consecutive_failures=state.consecutive_failures,
        error=history.error,
        error_at=history.error_at,
        note=history.note,
        plugs=tuple(_plug_snapshot(plan, station, plug, history, steps=steps) for plug in state.plugs.values()),
        revision=history.revision,
        next_poll=next_poll,
    )


def _plug_snapshot(
    plan: Plan, station: Station, plug: PlugState, history: StationHistory, *, steps: bool
) -> PlugSnapshot:
    reading, plug_history, meter = plug.reading, history.plug(plug.uuid), plug.meter
    session = (meter.session or meter.last_session) if meter else None
    return PlugSnapshot(
        uuid=plug.uuid,
        name=station.plug_title(plug.uuid, plug.label),
        topic=plan.topics.plug(station.topic_id, station.plug_topic_id(plug.uuid)).rstrip("/"),
        status=reading.status if reading else None,
        power=reading.power if reading else None,
        current_l1=reading.current_l1 if reading else None,
        current_l2=reading.current_l2 if reading else None,
        current_l3=reading.current_l3 if reading else None,
        dyn_current_limit=reading.dyn_current_limit if reading else None,
        time=reading.time if reading else None,
        reason=plug.reason,
        since=plug_history.since if plug_history else None,
        steps=tuple(plug_history.steps()) if steps and plug_history else (),
        energy=kilowatt_hours(meter.charged) if meter else None,
        energy_discharged=kilowatt_hours(meter.discharged) if meter else None,
        energy_gap=round(meter.gap) if meter else None,
        session_energy=kilowatt_hours(session.charged if session else 0.0) if meter else None,
        session_started=meter.session.started if meter and meter.session else None,
    )
