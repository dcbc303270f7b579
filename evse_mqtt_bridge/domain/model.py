"""Values of the domain: stations, the outcomes of polls, and the states of stations and plugs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from evse_mqtt_bridge.domain.meter import Meter, PublishedMeter
from evse_mqtt_bridge.domain.readings import PlugReading, same_values
from evse_mqtt_bridge.domain.reasons import PLUG_ONLY_REASONS, STATION_REASONS, Reason
from evse_mqtt_bridge.domain.rules import Rules
from evse_mqtt_bridge.support.value_class import value_class

__all__ = [
    "EMPTY",
    "PLUG_ONLY_REASONS",
    "STATION_REASONS",
    "Attribution",
    "Deferral",
    "Failure",
    "Outcome",
    "PlugReading",
    "PlugState",
    "Reading",
    "Reason",
    "Repeat",
    "Station",
    "StationState",
    "same_values",
    "station_title",
]

EMPTY: Mapping[str, str] = MappingProxyType({})


def station_title(name: str, alias: str, uuid: str) -> str:
    """Return the display name of a station: its name, else its alias, else its uuid."""
    return name or alias or uuid


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station as configured, without its token.

    Attributes:
        uuid: The `evse_uuid` of the API.
        interval: Polling interval in seconds, from 1.
        name: Display name; empty: none.
        alias: Name in topics in place of the uuid; empty: none.
        plugs: Names of plugs in topics, by plug uuid.
        plug_names: Display names of plugs, by plug uuid.
    """

    uuid: str
    interval: float
    name: str = ""
    alias: str = ""
    plugs: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    plug_names: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @property
    def topic_id(self) -> str:
        """The topic level of this station, below the base topic."""
        return self.alias or self.uuid

    @property
    def title(self) -> str:
        """The display name of this station, for logs and as a device name."""
        return station_title(self.name, self.alias, self.uuid)

    def plug_topic_id(self, uuid: str) -> str:
        """Return the topic level of a plug, below that of the station: its alias, else its uuid."""
        return self.plugs.get(uuid, uuid)

    def plug_title(self, uuid: str, label: str | None) -> str:
        """Return the display name of a plug: its name, else `label`, which the cloud reports, its alias or its uuid."""
        return self.plug_names.get(uuid) or label or self.plugs.get(uuid) or uuid

    def has_no_topic_for(self, plug: str) -> bool:
        """Return whether this plug has no topic, because its uuid is the alias of another plug.

        Such an alias keeps the topics after a charger was replaced. The cloud may report the old plug for some time,
        and retained messages on the broker may name it.
        """
        return plug not in self.plugs and plug in self.plugs.values()


@value_class
class Reading:
    """A response with at least one valid plug.

    Attributes:
        plugs: The valid plugs.
        invalid: The uuids of plugs whose object is invalid.
        notes: Unexpected contents, one log line each.
        fingerprint: A number that is the same for all responses with the same values, whose plugs have one time;
            `None`: a repetition of this response cannot be recognized.
    """

    plugs: tuple[PlugReading, ...]
    invalid: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    fingerprint: int | None = field(default=None, compare=False)


@value_class
class Repeat:
    """A response with the values of the one before, and usually a later time; parsed completely only if necessary.

    Attributes:
        fingerprint: See `Reading`.
        time: When all plugs were measured.
        body: The response.
        parse: Parses the response completely.
        notes: See `Reading`.
    """

    fingerprint: int
    time: datetime
    body: bytes
    parse: "Callable[[bytes], Reading | Failure]"
    notes: tuple[str, ...] = ()

    def parsed(self) -> "Reading | Failure":
        """Return the reading, as if it were the first one."""
        return self.parse(self.body)


class Attribution(Enum):
    """What a rejection concerns (see attribution.py)."""

    UNDECIDED = "not yet known"
    STATION = "the station: its token, its ids, or its response"
    CLOUD = "the cloud, or something in front of it, which rejects all stations"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed poll.

    Attributes:
        reason: The reason for the station.
        detail: A text for the log; never contains a secret.
        retry_after: The pause that the cloud requests, in seconds, within limits; `None`: none.
        attribution: What a rejection concerns: a response with a status other than 200 and 5xx, or with a web page.
            `None`: the failure is no rejection.
        is_probed: Whether the status is 401, 403, 404 or 410, so that the station is polled at growing intervals.
        is_from_api: Whether the response is the API's own, as far as its content shows.
    """

    reason: Reason
    detail: str = ""
    retry_after: float | None = None
    attribution: Attribution | None = None
    is_probed: bool = False
    is_from_api: bool = True


Outcome = Reading | Repeat | Failure


@value_class
class PlugState:
    """The state of a plug.

    Attributes:
        uuid: The vendor's uuid.
        label: The last label in a response.
        reading: The last valid reading; `None` before the first.
        invalid: Whether the object in the last response was invalid.
        missing_since: Since when valid responses lack this plug, without an outage in between; monotonic seconds.
        reason: Why the plug is available or not; `None` before the first response.
        last_published_at: When `time` and `state` were published last; monotonic seconds.
        last_published_time: The measurement time that was published last.
        meter: The energy meter; `None` until the counts of the previous run are known.
        last_published_meter: What was published of the meter last.
    """

    uuid: str
    label: str | None = None
    reading: PlugReading | None = None
    invalid: bool = False
    missing_since: float | None = None
    reason: Reason | None = None
    last_published_at: float = 0.0
    last_published_time: datetime | None = None
    meter: Meter | None = None
    last_published_meter: PublishedMeter | None = None


@value_class
class Deferral:
    """Permission to defer the evaluation of repeated responses: until a time, they change no message, reason or plug.

    Attributes:
        fingerprint: That of the repeated response, see `Reading`.
        plugs: The plugs after its evaluation; the deferral does not apply to a state with other ones.
        rules: The settings with which it was evaluated.
        until: The end, in monotonic seconds; it may have passed already, so that each repeat is evaluated.
    """

    fingerprint: int
    plugs: "Mapping[str, PlugState]"
    rules: Rules
    until: float


@value_class
class StationState:
    """The state of a station.

    Attributes:
        reason: Why the station is available or not; `None` until the first valid response or decisive failure.
        consecutive_failures: Number of failed polls in a row.
        plugs: The plugs by uuid, in the order of their first appearance.
        failure: The outcome of the last poll, if it failed.
        confirmed_at: When the last valid response arrived, or, before the first one, when the bridge started; monotonic
            seconds.
        probes: Number of failures in a row that are probed.
        is_continued: Whether another member polled the station until now, and no response has arrived since.
        deferral: Until when repeated responses need no evaluation; `None`: the next one has to be parsed completely.
        repeated_until: When the values were measured last, if that is later than the times of the readings; see
            repeats.py.
    """

    reason: Reason | None = None
    consecutive_failures: int = 0
    plugs: Mapping[str, PlugState] = field(default_factory=dict)
    failure: Failure | None = None
    confirmed_at: float = 0.0
    probes: int = 0
    is_continued: bool = False
    deferral: Deferral | None = field(default=None, compare=False)
    repeated_until: datetime | None = None

    @property
    def is_new(self) -> bool:
        """Whether no poll has changed the state; the plugs of a previous run may be restored."""
        has_readings = any(plug.reading is not None for plug in self.plugs.values())
        return self.reason is None and self.failure is None and not has_readings

    def with_plugs(self, plugs: Mapping[str, PlugState]) -> "StationState":
        """Return the state with other plugs. It has no deferral, which would keep the former plugs in memory."""
        return replace(self, plugs=plugs, deferral=None)
