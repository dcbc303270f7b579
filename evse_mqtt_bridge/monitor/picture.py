"""The picture of a running bridge: the one value that the page, `status`, `watch` and scripts all show.

It is made when somebody looks, from the state of the stations and the journal; nothing is kept for it. It holds no
secret: addresses, names and measurements alone. As JSON (`to_json`, `from_json`) it is served at `/api/picture`.

Thousands of stations take their time, so their pictures come one by one (`station_pictures`), and are written one by
one (`station_json`); `picture_json` puts the pieces together.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from evse_mqtt_bridge.bridge import Bridge
from evse_mqtt_bridge.core.model import PlugState, Reason, Station, StationState
from evse_mqtt_bridge.monitor.journal import Journal, StationRecord
from evse_mqtt_bridge.plan import Plan

__all__ = [
    "BridgePicture",
    "BrokerPicture",
    "Health",
    "Picture",
    "PlugPicture",
    "StationPicture",
    "Step",
    "from_json",
    "picture_json",
    "station_json",
    "station_picture",
    "station_pictures",
    "to_json",
]

Step = tuple[int, float | None]
"""A plug's power (W; `None`: not known) from a minute on, counted since 1970-01-01 in UTC."""


@dataclass(frozen=True, slots=True)
class PlugPicture:
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
class StationPicture:
    """A station; `interval` in seconds, `misses` are failed polls in a row, `polled` is when it was asked last.

    `error` is the last failed poll in words, with when that was, also after the station is back; `note` is what was
    unusual in the last answer. `revision` is that of the journal when it was polled.
    """

    uuid: str
    name: str
    topic: str
    interval: float
    reason: Reason | None
    since: datetime | None
    polled: datetime | None
    misses: int
    error: str
    error_at: datetime | None
    note: str
    plugs: tuple[PlugPicture, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class BrokerPicture:
    """The broker: `address` is host:port; `since` is when it was connected, or lost; `trouble` says why it is not."""

    address: str
    connected: bool
    since: datetime
    trouble: str


@dataclass(frozen=True, slots=True)
class BridgePicture:
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
class Picture:
    """All of it, at a moment (UTC); `revision` is the journal's."""

    at: datetime
    bridge: BridgePicture
    broker: BrokerPicture
    health: Health
    stations: tuple[StationPicture, ...]
    revision: int


_PICTURE = TypeAdapter(Picture)
_STATION = TypeAdapter(StationPicture)


def to_json(picture: Picture) -> bytes:
    """The picture as JSON; times are ISO 8601 in UTC with `Z`."""
    return picture_json(picture, map(station_json, picture.stations))


def station_json(station: StationPicture) -> bytes:
    """One station, as it stands in the JSON of a picture."""
    return _STATION.dump_json(station)


def picture_json(picture: Picture, stations: Iterable[bytes]) -> bytes:
    """The JSON of a picture, with the JSON of these stations instead of its own."""
    around = _PICTURE.dump_json(picture, exclude={"stations"})
    return b"".join((around[:-1], b',"stations":[', b",".join(stations), b"]}"))


def from_json(text: bytes) -> Picture:
    """The picture from its JSON.

    Raises:
        ValueError: it is none, such as one of another version of the bridge.
    """
    try:
        return _PICTURE.validate_json(text)
    except ValidationError as error:
        raise ValueError("no picture of a bridge of this version") from error


def station_pictures(
    bridge: Bridge, journal: Journal, after: int = -1, *, steps: bool = True
) -> Iterator[StationPicture]:
    """Each station that was polled after revision `after`, by default all, as it is when its turn comes.

    They end early where the bridge goes over to another plan. Without `steps` the power of the last hour is left out.
    """
    plan = bridge.plan
    for uuid, station in plan.stations.items():
        if bridge.plan is not plan:
            return
        record = journal.station(uuid)
        if record.revision > after:
            yield station_picture(plan, station, bridge.state(uuid), record, steps=steps)


def station_picture(
    plan: Plan, station: Station, state: StationState, record: StationRecord, *, steps: bool = True
) -> StationPicture:
    """One station, from its state and its record."""
    return StationPicture(
        uuid=station.uuid,
        name=station.title,
        topic=plan.topics.station(station.topic_id).rstrip("/"),
        interval=station.interval,
        reason=state.reason,
        since=record.since,
        polled=record.polled,
        misses=state.misses,
        error=record.error,
        error_at=record.error_at,
        note=record.note,
        plugs=tuple(_plug_picture(plan, station, plug, record, steps=steps) for plug in state.plugs.values()),
        revision=record.revision,
    )


def _plug_picture(plan: Plan, station: Station, plug: PlugState, record: StationRecord, *, steps: bool) -> PlugPicture:
    reading, known = plug.reading, record.plugs.get(plug.uuid)
    topic_id = station.plugs.get(plug.uuid, plug.uuid)
    return PlugPicture(
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
        steps=tuple(known.history.pairs()) if steps and known else (),
    )
