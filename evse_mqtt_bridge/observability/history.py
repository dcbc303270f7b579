"""What is remembered of each station for people to look at: since when, the last error, the power of the last hour.

The state of a station (core/model.py) has what its messages are made of; this has what only eyes need. It is told of
each poll, so it does as little as can be while nothing changes.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugState, Reason, StationState

__all__ = ["HISTORY_MINUTES", "History", "PlugHistory", "PowerSeries", "StationHistory"]

HISTORY_MINUTES = 60
"""Minutes of power that are kept."""

_MINUTE = 60

_NOTES = 3


class PowerSeries:
    """A plug's power (W) as steps: for each minute in which it changed, the last value; the oldest go after an hour.

    What was so before the hour is kept as one more step, so that a line can be drawn from the hour's beginning.
    """

    __slots__ = ("_minutes", "_powers")

    def __init__(self) -> None:
        self._minutes = array("I")
        self._powers = array("d")

    def add(self, at: datetime, power: float | None) -> None:
        """The power is this from `at` on; `None` (not known) is kept as a gap."""
        minute = int(at.timestamp()) // _MINUTE
        value = float("nan") if power is None else power
        while self._minutes and self._minutes[-1] > minute:  # the clock was set back: that time has not come yet
            del self._minutes[-1], self._powers[-1]
        if self._minutes and self._minutes[-1] == minute:
            self._powers[-1] = value
            return
        while len(self._minutes) > 1 and self._minutes[1] <= minute - HISTORY_MINUTES:
            del self._minutes[0], self._powers[0]
        self._minutes.append(minute)
        self._powers.append(value)

    def steps(self) -> Iterator[tuple[datetime, float | None]]:
        """Each step: from when on (to the minute, UTC), and the power; `None`: not known."""
        for minute, power in self.pairs():
            yield datetime.fromtimestamp(minute * _MINUTE, UTC), power

    def pairs(self) -> Iterator[tuple[int, float | None]]:
        """The same, with the minute as a number since 1970-01-01 in UTC."""
        for minute, power in zip(self._minutes, self._powers, strict=True):
            yield minute, power if power == power else None  # noqa: PLR0124  # NaN alone is not equal to itself


@dataclass(slots=True)
class PlugHistory:
    """A plug: since when its reason is what it is (UTC), and its power."""

    since: datetime
    power_series: PowerSeries = field(default_factory=PowerSeries)


@dataclass(slots=True)
class StationHistory:
    """A station: when it was asked last and since when its reason is what it is (UTC), and the last error in words.

    `error` stays after the station is back, with the time at which it was told; `note` is what was unusual in the last
    good answer. `revision` grows with each poll, over all stations, so that a viewer knows what it has not seen.
    """

    polled: datetime | None = None
    since: datetime | None = None
    error: str = ""
    error_at: datetime | None = None
    note: str = ""
    revision: int = 0
    plugs: dict[str, PlugHistory] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """The records of all stations, by uuid; `revision` counts what was recorded."""

    revision: int = 0
    _stations: dict[str, StationHistory] = field(default_factory=dict)

    def station(self, uuid: str) -> StationHistory:
        """The record of a station; an empty one before its first poll."""
        return self._stations.get(uuid) or StationHistory()

    def polled(self, uuid: str, old: StationState, new: StationState, outcome: Outcome, at: datetime) -> None:
        """One poll ended at `at` (UTC) and turned `old` into `new`."""
        record = self._stations.get(uuid)
        if record is None:
            record = self._stations[uuid] = StationHistory()
        self.revision = record.revision = self.revision + 1
        record.polled = at
        if isinstance(outcome, Failure):
            record.error, record.error_at = outcome.detail, at
        else:
            record.note = _in_short(outcome.notes) if outcome.notes else ""
        self._changed(record, old, new, at)

    def aged(self, uuid: str, old: StationState, new: StationState, at: datetime) -> None:
        """Time passed without a poll, and turned `old` into `new`."""
        record = self._stations.get(uuid)
        if record is not None:
            self.revision = record.revision = self.revision + 1
            self._changed(record, old, new, at)

    def forget(self, uuid: str) -> None:
        """A station went."""
        self.revision += 1
        self._stations.pop(uuid, None)

    @staticmethod
    def _changed(record: StationHistory, old: StationState, new: StationState, at: datetime) -> None:
        if new.reason is not old.reason:
            record.since = at
        known = old.plugs
        for uuid, plug in new.plugs.items():
            before = known.get(uuid)
            if before is None or plug.reason is not before.reason:
                _plug_changed(record, before, plug, at)
                continue
            # Written out, since most polls end here: neither reason nor power has changed.
            was, reading = before.reading, plug.reading
            if was is not reading and (was is None or reading is None or was.power != reading.power):
                _plug_changed(record, before, plug, at)
        if len(record.plugs) > len(new.plugs):
            record.plugs = {uuid: plug for uuid, plug in record.plugs.items() if uuid in new.plugs}


def _plug_changed(record: StationHistory, before: PlugState | None, plug: PlugState, at: datetime) -> None:
    known = record.plugs.get(plug.uuid)
    if known is None:
        known = record.plugs[plug.uuid] = PlugHistory(since=at)
    elif before is None or plug.reason is not before.reason:
        known.since = at
    power = _power(plug)
    if before is None or power != _power(before):
        known.power_series.add(at, power)


def _in_short(notes: tuple[str, ...]) -> str:
    """The first notes, and how many there are besides: an answer of a thousand oddities is not kept whole."""
    more = len(notes) - _NOTES
    return "; ".join(notes[:_NOTES] if more <= 0 else (*notes[:_NOTES], f"and {more} more"))


def _power(plug: PlugState) -> float | None:
    """The power, as far as it is known: what was measured before a plug became unavailable is not drawn on."""
    return plug.reading.power if plug.reading and plug.reason is Reason.ONLINE else None
