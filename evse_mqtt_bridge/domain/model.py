"""The values that travel the line: what a poll yields, what is known of a station, what is said to the broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

__all__ = [
    "EMPTY",
    "PLUG_ONLY_REASONS",
    "STATION_REASONS",
    "Failure",
    "Outcome",
    "PlugReading",
    "PlugState",
    "Reading",
    "Reason",
    "Station",
    "StationState",
    "same_values",
    "station_title",
]

EMPTY: Mapping[str, str] = MappingProxyType({})


class Reason(StrEnum):
    """Why a station or a plug is, or is not, available; the words of the `availability_reason` topics."""

    ONLINE = "online"
    # the station's
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    # the station's or a plug's
    INVALID_RESPONSE = "invalid_response"
    # a plug's
    OFFLINE = "offline"
    CLOUD_OFFLINE = "cloud_offline"
    STALE = "stale"
    MISSING = "missing"


PLUG_ONLY_REASONS = frozenset({Reason.OFFLINE, Reason.CLOUD_OFFLINE, Reason.STALE, Reason.MISSING})
"""Reasons that a plug can have and a station cannot."""

STATION_REASONS = tuple(reason for reason in Reason if reason not in PLUG_ONLY_REASONS)
"""Reasons that a station can have. A plug can have any reason."""


def station_title(name: str, alias: str, uuid: str) -> str:
    """What a person calls a station: its name, else its alias, else its uuid."""
    return name or alias or uuid


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station as the user names it; holds no secret.

    `uuid` is the API's `evse_uuid`; `alias` and the values of `plugs` (keyed by plug uuid) take the uuid's place
    in topics. `interval` is in seconds, from 1.
    """

    uuid: str
    interval: float
    name: str = ""
    alias: str = ""
    plugs: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @property
    def topic_id(self) -> str:
        """The level under the base topic that stands for this station."""
        return self.alias or self.uuid

    @property
    def title(self) -> str:
        """What a person calls this station, in logs and as a device name."""
        return station_title(self.name, self.alias, self.uuid)

    def plug_topic_id(self, uuid: str) -> str:
        """The level under the station's topics that stands for a plug: its alias, else its uuid."""
        return self.plugs.get(uuid, uuid)

    def plug_title(self, uuid: str, label: str | None) -> str:
        """What a person calls a plug: `label`, which the cloud reports, else its alias, else its uuid."""
        return label or self.plugs.get(uuid) or uuid

    def has_no_topic_for(self, plug: str) -> bool:
        """Whether the place of this plug uuid in topics is taken: as an alias, another plug has it.

        So the topics of a charger that was replaced can stay; the plug that had them may still be told of, by the cloud
        for a while, and by what is retained on the broker.
        """
        return plug not in self.plugs and plug in self.plugs.values()


@dataclass(frozen=True, slots=True)
class PlugReading:
    """One plug object of one answer, validated; `None` where the answer has no value.

    Currents and the limit in A, power in W (negative while discharging), `time` in UTC.
    """

    plug_uuid: str
    label: str | None = None
    status: str | None = None
    power: float | None = None
    current_l1: float | None = None
    current_l2: float | None = None
    current_l3: float | None = None
    dyn_current_limit: float | None = None
    time: datetime | None = None


def same_values(old: PlugReading | None, new: PlugReading | None) -> bool:
    """Whether two readings of one plug differ in nothing but their time."""
    if old is None or new is None:
        return old is new
    return (
        old.power == new.power
        and old.current_l1 == new.current_l1
        and old.current_l2 == new.current_l2
        and old.current_l3 == new.current_l3
        and old.dyn_current_limit == new.dyn_current_limit
        and old.status == new.status
        and old.label == new.label
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """A useful answer: at least one valid plug.

    `invalid` names plugs whose object was wrong; `notes` are oddities worth one line in the log.
    """

    plugs: tuple[PlugReading, ...]
    invalid: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A poll that yielded nothing useful: the station's reason, and words for the log (never a secret).

    `retry_after` is what the cloud asked for, in seconds, already clamped.
    """

    reason: Reason
    detail: str = ""
    retry_after: float | None = None


Outcome = Reading | Failure


@dataclass(frozen=True, slots=True)
class PlugState:
    """What is known of one plug.

    `label` is the last one seen. `reading` is the last valid one, `None` before the first; `invalid` tells that the
    object in the last answer was not.
    `missing_since` is when (monotonic seconds) good answers, uninterrupted by an outage, began to lack this plug.
    `reason` is `None` until the station told. `last_published_at` (monotonic seconds) and `last_published_time`
    remember the last publication of `time` and `state`.
    """

    uuid: str
    label: str | None = None
    reading: PlugReading | None = None
    invalid: bool = False
    missing_since: float | None = None
    reason: Reason | None = None
    last_published_at: float = 0.0
    last_published_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class StationState:
    """What is known of one station; `reason` is `None` until enough polls told.

    `consecutive_failures` counts failed polls in a row; `plugs` is keyed by plug uuid, in the order of first sight.
    """

    reason: Reason | None = None
    consecutive_failures: int = 0
    plugs: Mapping[str, PlugState] = field(default_factory=dict)
