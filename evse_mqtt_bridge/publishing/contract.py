"""The topic contract as tables, one row per topic. Messages and every reference are generated from them.

`CONTRACT_VERSION` changes when a consumer could notice: a topic, a type or a meaning was removed or changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Literal

from evse_mqtt_bridge.domain.meter import PublishedMeter
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.statuses import iec_61851, meaning

__all__ = [
    "BRIDGE_FIELDS",
    "CONTRACT_VERSION",
    "METER_FIELDS",
    "PLUG_FIELDS",
    "READING_FIELDS",
    "STATION_FIELDS",
    "STATUS_FIELDS",
    "Field",
    "Kind",
    "MeterField",
    "ReadingField",
    "Subject",
    "TopicRow",
    "kilowatt_hours",
]

CONTRACT_VERSION = 1


class Kind(StrEnum):
    """The type of a payload."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One topic level below its owner (bridge, station or plug).

    Attributes:
        name: The topic level.
        kind: The type of the payload.
        description: The meaning as text, in Markdown.
        unit: The unit; empty: none.
        retained: Whether the broker retains it.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    retained: bool = True


@dataclass(frozen=True, slots=True)
class ReadingField(Field):
    """A topic whose value comes from one reading; `read` returns `None` if the reading has no value for it."""

    read: Callable[[PlugReading], object] = lambda _: None


@dataclass(frozen=True, slots=True)
class MeterField(Field):
    """A topic whose value comes from the meter; `read` returns `None` if the meter has no value for it."""

    read: Callable[[PublishedMeter], object] = lambda _: None


def kilowatt_hours(energy: float) -> float:
    """Return an energy in Wh as kWh with three decimals."""
    return round(energy / 1000, 3) if energy else 0.0


Subject = Literal["bridge", "shard", "station", "plug"]
"""The kind of thing that a topic describes."""


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One topic of a configuration, as the catalogue lists it.

    Attributes:
        channel: The name in the contract, such as `plug.power`; the same for every plug.
        topic: The topic.
        kind: The type of the payload.
        unit: The unit; empty: none.
        description: The meaning as text, in Markdown.
        device: The display name of the station or plug.
        quality: The topic that is `online` while the value is valid; empty: none.
        time: The topic with the time of the measurement; empty: none.
        qos: 0 to 2.
        retained: Whether the broker retains it.
    """

    channel: str
    topic: str
    kind: Kind
    unit: str
    description: str
    device: str
    quality: str
    time: str
    qos: int = 0
    retained: bool = True


BRIDGE_FIELDS = (
    Field("availability", Kind.TEXT, "`online` while the bridge is connected, else `offline` (last will)"),
    Field("info", Kind.JSON, "version, contract version, start time and number of stations of the bridge"),
)

STATION_FIELDS = (
    Field("info", Kind.JSON, "UUID, name and plugs of the station, and the bridge that publishes it"),
    Field("availability_reason", Kind.TEXT, "`online`, or the reason why the station is unavailable"),
    Field("availability", Kind.TEXT, "`online` while the API returns valid data for the station, else `offline`"),
)

STATUS_FIELDS = (
    ReadingField(
        "charging", Kind.BOOLEAN, "`true` while power flows into a vehicle", read=lambda r: meaning(r.status).charging
    ),
    ReadingField(
        "vehicle_connected",
        Kind.BOOLEAN,
        "`true` while a vehicle is connected; published only if the status indicates it",
        read=lambda r: meaning(r.status).vehicle_connected,
    ),
    ReadingField(
        "problem", Kind.BOOLEAN, "`true` while the plug reports an error", read=lambda r: meaning(r.status).problem
    ),
    ReadingField(
        "iec61851",
        Kind.TEXT,
        "state by IEC 61851: `A` no vehicle, `B` connected, `C` power flows, `E` error",
        read=lambda r: iec_61851(r.status),
    ),
)
"""The fields that depend on nothing but the status of the plug."""

READING_FIELDS = (
    ReadingField("status", Kind.TEXT, "status as reported by the API, verbatim", read=attrgetter("status")),
    ReadingField("power", Kind.NUMBER, "power, negative while discharging", "W", read=attrgetter("power")),
    ReadingField("current_l1", Kind.NUMBER, "current of phase 1", "A", read=attrgetter("current_l1")),
    ReadingField("current_l2", Kind.NUMBER, "current of phase 2", "A", read=attrgetter("current_l2")),
    ReadingField("current_l3", Kind.NUMBER, "current of phase 3", "A", read=attrgetter("current_l3")),
    ReadingField(
        "dyn_current_limit",
        Kind.NUMBER,
        "current limit set by load management",
        "A",
        read=attrgetter("dyn_current_limit"),
    ),
    ReadingField("time", Kind.TIME, "time of the measurement, ISO 8601, UTC", read=attrgetter("time")),
    ReadingField("label", Kind.TEXT, "label of the plug", read=attrgetter("label")),
    *STATUS_FIELDS,
)

METER_FIELDS = (
    MeterField(
        "energy",
        Kind.NUMBER,
        "energy charged into vehicles; never decreases",
        "kWh",
        read=lambda m: kilowatt_hours(m.charged),
    ),
    MeterField(
        "energy_discharged",
        Kind.NUMBER,
        "energy discharged from vehicles; never decreases",
        "kWh",
        read=lambda m: kilowatt_hours(m.discharged),
    ),
    MeterField(
        "energy_gap",
        Kind.NUMBER,
        "time for which the energy is unknown; never decreases",
        "s",
        read=lambda m: round(m.gap),
    ),
    MeterField(
        "session_energy",
        Kind.NUMBER,
        "energy charged in the open session, else in the last one",
        "kWh",
        read=lambda m: kilowatt_hours(session.charged) if (session := m.session or m.last_session) else 0,
    ),
)

PLUG_FIELDS: tuple[Field, ...] = (
    *READING_FIELDS,
    *METER_FIELDS,
    Field("session", Kind.JSON, "the open session; its values are `null` while no vehicle is connected"),
    Field("last_session", Kind.JSON, "the session that ended last; its values are `null` before the first one"),
    Field(
        "session_event",
        Kind.JSON,
        "what happened to a session: `started`, `charging`, `paused` or `ended`",
        retained=False,
    ),
    Field("state", Kind.JSON, "all values of the plug from one poll in one object; `null` if unknown"),
    Field("availability_reason", Kind.TEXT, "`online`, or the reason why the plug is unavailable"),
    Field("availability", Kind.TEXT, "`online` while the values of the plug are valid, else `offline`"),
)
