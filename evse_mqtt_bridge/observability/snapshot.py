"""The picture of a running bridge: the one value that the page, `status`, `watch` and scripts all show.

It is made when somebody looks, from the state of the stations and the history; nothing is kept for it. It holds no
secret: addresses, names and measurements alone. As JSON (`to_json`, `from_json`) it is served at `/api/picture`.

Thousands of stations take their time, so their pictures come one by one (`station_snapshots`), and are written one by
one (`station_json`); `snapshot_json` puts the pieces together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from evse_mqtt_bridge.domain.model import PlugState, Reason, Station, StationState
from evse_mqtt_bridge.observability.history import History, StationHistory
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge

__all__ = [
    "BridgeSnapshot",
    "BrokerSnapshot",
    "Health",
    "PlugSnapshot",
    "Snapshot",
    "StationSnapshot",
    "Step",
    "from_json",
    "snapshot_json",
    "station_json",
    "station_snapshot",
    "station_snapshots",
    "to_json",
]

Step = tuple[int, float | None]
"""A plug's power (W; `None`: not known) from a minute on, counted since 1970-01-01 in UTC."""


@dataclass(frozen=True, slots=True)
class PlugSnapshot:
    """A plug: measurements as in its topics (A, W; `None`: never told), and what is known of its availability.

    `topic` is what its topics begin with, without a slash at the end. `reason` is `None` until the station told;
    `since` is when it became what it is. `steps` are the power of the last hour; it stays what it is until the next.
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


@dataclass(frozen=True, slots=True)
class StationSnapshot:
    """A station; `interval` in seconds, `polled` is when it was polled last.

    `consecutive_failures` counts failed polls in a row; as JSON it is `misses`.

    `error` is the last failed poll in words, with when that was, also after the station is back; `note` is what was
    unusual in the last answer. `revision` is that of the history when it was polled.
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


@dataclass(frozen=True, slots=True)
class BrokerSnapshot:
    """The broker: `address` is host:port; `since` is when it was connected, or lost; `trouble` says why it is not."""

    address: str
    connected: bool
    since: datetime
    trouble: str


@dataclass(frozen=True, slots=True)
class BridgeSnapshot:
    """The bridge itself; `cloud` is the address of the API, `transport` what carries the requests."""

    version: str
    client_id: str
    base_topic: str
    started: datetime
    cloud: str
    transport: str


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the bridge does its work; `words` say what is wrong, or what to look at."""

    healthy: bool
    ready: bool
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it, at a moment (UTC); `revision` is the history's."""

    at: datetime
    bridge: BridgeSnapshot
    broker: BrokerSnapshot
    health: Health
    stations: tuple[StationSnapshot, ...]
    revision: int


_PICTURE = TypeAdapter(Snapshot)
_STATION = TypeAdapter(StationSnapshot)


def to_json(picture: Snapshot) -> bytes:
    """The picture as JSON; times are ISO 8601 in UTC with `Z`."""
    return snapshot_json(picture, map(station_json, picture.stations))


def station_json(station: StationSnapshot) -> bytes:
    """One station, as it stands in the JSON of a picture."""
    return _STATION.dump_json(station, by_alias=True)


def snapshot_json(picture: Snapshot, stations: Iterable[bytes]) -> bytes:
    """The JSON of a picture, with the JSON of these stations instead of its own."""
    around = _PICTURE.dump_json(picture, exclude={"stations"})
    return b"".join((around[:-1], b',"stations":[', b",".join(stations), b"]}"))


def from_json(text: bytes) -> Snapshot:
    """The picture from its JSON.

    Raises:
        ValueError: it is none, such as one of another version of the bridge.
    """
    try:
        return _PICTURE.validate_json(text)
    except ValidationError as error:
        raise ValueError("no picture of a bridge of this version") from error


def station_snapshots(
    bridge: Bridge, history: History, after: int = -1, *, steps: bool = True
) -> Iterator[StationSnapshot]:
    """Each station that was polled after revision `after`, by default all, as it is when its turn comes.

    They end early where the bridge goes over to another plan. Without `steps` the power of the last hour is left out.
    """
    plan = bridge.plan
    for uuid, station in plan.stations.items():
        if bridge.plan is not plan:
            return
        record = history.station(uuid)
        if record.revision > after:
            yield station_snapshot(plan, station, bridge.state(uuid), record, steps=steps)


def station_snapshot(
    plan: Plan, station: Station, state: StationState, record: StationHistory, *, steps: bool = True
) -> StationSnapshot:
    """One station, from its state and its record."""
    return StationSnapshot(
        uuid=station.uuid,
        name=station.title,
        topic=plan.topics.station(station.topic_id).rstrip("/"),
        interval=station.interval,
        reason=state.reason,
        since=record.since,
        polled=record.polled,
        consecutive_failures=state.consecutive_failures,
        error=record.error,
        error_at=record.error_at,
        note=record.note,
        plugs=tuple(_plug_snapshot(plan, station, plug, record, steps=steps) for plug in state.plugs.values()),
        revision=record.revision,
    )


def _plug_snapshot(
    plan: Plan, station: Station, plug: PlugState, record: StationHistory, *, steps: bool
) -> PlugSnapshot:
    reading, known = plug.reading, record.plugs.get(plug.uuid)
    topic_id = station.plugs.get(plug.uuid, plug.uuid)
    return PlugSnapshot(
        uuid=plug.uuid,
        name=plug.label or station.plugs.get(plug.uuid) or plug.uuid,
        topic=plan.topics.plug(station.topic_id, topic_id).rstrip("/"),
        status=reading.status if reading else None,
        power=reading.power if reading else None,
        current_l1=reading.current_l1 if reading else None,
        current_l2=reading.current_l2 if reading else None,
        current_l3=reading.current_l3 if reading else None,
        dyn_current_limit=reading.dyn_current_limit if reading else None,
        time=reading.time if reading else None,
        reason=plug.reason,
        since=known.since if known else None,
        steps=tuple(known.power_series.pairs()) if steps and known else (),
    )
