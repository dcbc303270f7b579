"""Says in words what the picture of a bridge has of each station and plug; pure.

Ages are those at the moment of the picture, by the bridge's own clock. All text from outside comes out clean.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.observability.reason_texts import reason_text
from evse_mqtt_bridge.observability.snapshot import PlugSnapshot, StationSnapshot
from evse_mqtt_bridge.publishing.messages import number
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.text import clean

__all__ = ["ERROR_MOST", "HEADS", "PlugRow", "Rank", "StationRow", "rank_of", "span", "station_row", "value"]

HEADS = ("STATUS", "POWER", "L1 / L2 / L3", "LIMIT", "AGE")
"""What the cells of a plug are."""

ERROR_MOST = 300
"""Characters of an error in words that are shown."""

_RECENT = 3600.0  # seconds


class Rank(IntEnum):
    """What is looked at first comes first."""

    UNAVAILABLE = 0
    WAITING = 1
    PROBLEM = 2
    CHARGING = 3
    REST = 4


@dataclass(frozen=True, slots=True)
class PlugRow:
    """A plug: `cells` are what HEADS says, `availability` is why it is online or not, and for how long."""

    name: str
    cells: tuple[str, ...]
    rank: Rank
    availability: str


@dataclass(frozen=True, slots=True)
class StationRow:
    """A station: its rank is the first of its plugs' and its own; `trouble` is why it is not online, or empty.

    `remarks` are the last error, while it matters or within an hour, and what was unusual in the last answer.
    """

    name: str
    rank: Rank
    trouble: str
    remarks: tuple[str, ...]
    plugs: tuple[PlugRow, ...]


def station_row(at: datetime, station: StationSnapshot) -> StationRow:
    """A station of the picture of this moment."""
    plugs = tuple(_plug_row(at, plug) for plug in station.plugs)
    online = station.reason is Reason.ONLINE
    remarks = []
    if station.error and station.error_at is not None:
        ago = (at - station.error_at).total_seconds()
        if not online or station.consecutive_failures or ago < _RECENT:
            remarks.append(f"last error {span(at, station.error_at)} ago: {clean(station.error, ERROR_MOST)}")
    if station.note:
        remarks.append(f"unusual: {clean(station.note, ERROR_MOST)}")
    return StationRow(
        name=clean(station.name),
        rank=min([_rank_of_reason(station.reason), *(plug.rank for plug in plugs)]),
        trouble="" if online else _why(at, station.reason, station.since),
        remarks=tuple(remarks),
        plugs=plugs,
    )


def rank_of(plug: PlugSnapshot) -> Rank:
    """How soon a plug is looked at."""
    if plug.reason is not Reason.ONLINE:
        return _rank_of_reason(plug.reason)
    told = meaning(plug.status)
    if told.problem:
        return Rank.PROBLEM
    return Rank.CHARGING if told.charging else Rank.REST


def value(value: float | None, unit: str, digits: int = 2) -> str:
    """A measurement with its unit, rounded to so many digits; `-` for none."""
    return "-" if value is None else f"{number(round(value, digits))} {unit}".rstrip()


def span(at: datetime, since: datetime) -> str:
    """The time from `since` to `at` in words; below ten seconds without tenths, which would only flicker."""
    seconds = max((at - since).total_seconds(), 0.0)
    return f"{seconds:.0f} s" if seconds < 10 else format_duration(seconds)  # noqa: PLR2004  # ten


def _plug_row(at: datetime, plug: PlugSnapshot) -> PlugRow:
    currents = (plug.current_l1, plug.current_l2, plug.current_l3)
    cells = (
        clean(plug.status or "-"),
        value(plug.power, "W", 0),
        "-" if currents == (None, None, None) else " / ".join(value(current, "") for current in currents) + " A",
        value(plug.dyn_current_limit, "A"),
        _age(at, plug.time) if plug.time else "-",
    )
    return PlugRow(clean(plug.name), cells, rank_of(plug), _why(at, plug.reason, plug.since))


def _rank_of_reason(reason: Reason | None) -> Rank:
    if reason is None:
        return Rank.WAITING
    return Rank.REST if reason is Reason.ONLINE else Rank.UNAVAILABLE


def _why(at: datetime, reason: Reason | None, since: datetime | None) -> str:
    return reason_text(reason) + (f" (for {span(at, since)})" if since is not None and reason is not None else "")


def _age(at: datetime, time: datetime) -> str:
    """How old a measurement is; with a minus where its clock is ahead by a second or more."""
    return f"-{span(time, at)}" if (time - at).total_seconds() >= 1 else span(at, time)
