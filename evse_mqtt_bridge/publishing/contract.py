"""The topic contract as tables: one row a topic, from which messages, discovery and every reference are made.

`CONTRACT_VERSION` changes when a consumer could notice: a topic, a type or a meaning that went or changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = [
    "BRIDGE_FIELDS",
    "CONTRACT_VERSION",
    "PLUG_FIELDS",
    "READING_FIELDS",
    "STATION_FIELDS",
    "Field",
    "Kind",
    "ReadingField",
]

CONTRACT_VERSION = 1


class Kind(StrEnum):
    """What a payload is."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One topic level below its owner (bridge, station or plug)."""

    name: str
    kind: Kind
    description: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ReadingField(Field):
    """A topic whose value comes from one reading; `read` yields `None` where there is nothing to say."""

    read: Callable[[PlugReading], object] = lambda _: None


BRIDGE_FIELDS = (
    Field("availability", Kind.TEXT, "`online` while the bridge runs, `offline` when it ended (last will)"),
    Field("info", Kind.JSON, "what runs here: version, contract version, start time, number of stations"),
)

STATION_FIELDS = (
    Field("info", Kind.JSON, "the station's uuid and name, its plugs, and who publishes it"),
    Field("availability_reason", Kind.TEXT, "why: `online`, or what the API answers instead"),
    Field("availability", Kind.TEXT, "`online` while the API answers usefully for this station, else `offline`"),
)

READING_FIELDS = (
    ReadingField("status", Kind.TEXT, "the API's word, verbatim", read=lambda r: r.status),
    ReadingField("power", Kind.NUMBER, "power, negative while discharging", "W", lambda r: r.power),
    ReadingField("current_l1", Kind.NUMBER, "current of phase 1", "A", lambda r: r.current_l1),
    ReadingField("current_l2", Kind.NUMBER, "current of phase 2", "A", lambda r: r.current_l2),
    ReadingField("current_l3", Kind.NUMBER, "current of phase 3", "A", lambda r: r.current_l3),
    ReadingField(
        "dyn_current_limit",
        Kind.NUMBER,
        "the limit that load management allows at this moment",
        "A",
        lambda r: r.dyn_current_limit,
    ),
    ReadingField("time", Kind.TIME, "when the values were measured, ISO 8601, UTC", "", lambda r: r.time),
    ReadingField("label", Kind.TEXT, "the plug's label", "", lambda r: r.label),
    ReadingField("charging", Kind.BOOLEAN, "power flows into a vehicle", "", lambda r: meaning(r.status).charging),
    ReadingField(
        "vehicle_connected",
        Kind.BOOLEAN,
        "a vehicle is connected; published only when the status tells",
        "",
        lambda r: meaning(r.status).vehicle_connected,
    ),
    ReadingField("problem", Kind.BOOLEAN, "the plug reports an error", "", lambda r: meaning(r.status).problem),
)

PLUG_FIELDS: tuple[Field, ...] = (
    *READING_FIELDS,
    Field("state", Kind.JSON, "all of a plug's topics of one poll together, `null` where unknown"),
    Field("availability_reason", Kind.TEXT, "why: `online`, or what makes the values useless"),
    Field("availability", Kind.TEXT, "`online` while the values can be used, else `offline`"),
)
