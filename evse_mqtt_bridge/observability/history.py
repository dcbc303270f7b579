"""Keeps the history for the status page: times of changes, the last error, and the power of the last hour.

The state of a station (domain/model.py) contains the data of its messages, and the history contains the rest. It
receives every poll, so it does little while nothing changes, and nothing while it is switched off; see `History.keep`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from struct import Struct

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Failure, PlugState, Reason, StationState

__all__ = ["HISTORY_MINUTES", "History", "PlugHistory", "StationHistory"]

HISTORY_MINUTES = 60
"""Number of minutes for which power is kept."""

_SECONDS_PER_MINUTE = 60

_NOTES_LIMIT = 3

_NO_CORRECTION = timedelta()

_UNKNOWN = StationState()
"""The state before the first recorded poll, if the station was already polled: everything counts as changed."""

_STEP = Struct("=qd")
"""A step: its minute and its power."""


class PlugHistory:
    """The history of a plug.

    Its power (W) is kept as steps: the last value of each minute in which it changed, for an hour. The last step from
    before the hour is kept too, so that a chart of the hour has a value at its left edge.

    Attributes:
        uuid: The plug.
        since: When the reason of the plug last changed, in UTC.
    """

    __slots__ = ("_steps", "since", "uuid")

    def __init__(self, uuid: str, since: datetime) -> None:
        self.uuid = uuid
        self.since = since
        self._steps = b""
        """The packed steps; an array, with its spare room, takes three times the memory while there are few."""

    def add_power(self, at: datetime, power: float | None) -> None:
        """Add the power from `at` on; `None` (unknown) is a gap."""
        steps, size = self._steps, _STEP.size
        minute = int(at.timestamp()) // _SECONDS_PER_MINUTE
        # Replace the step of this minute, and drop later ones: the clock was set back.
        while steps and _minute(steps, -size) >= minute:
            steps = steps[:-size]
        while len(steps) > size and _minute(steps, size) <= minute - HISTORY_MINUTES:
            steps = steps[size:]
        self._steps = steps + _STEP.pack(minute, math.nan if power is None else power)

    def steps(self) -> Iterator[tuple[int, float | None]]:
        """Yield each step: its first minute, counted since 1970-01-01 in UTC, and the power (`None`: a gap)."""
        for minute, power in _STEP.iter_unpack(self._steps):
            yield minute, None if math.isnan(power) else power

    def shift(self, difference: timedelta) -> None:
        """Correct all times, because the clock was set."""
        self.since += difference
        minutes = round(difference.total_seconds() / _SECONDS_PER_MINUTE)
        steps = _STEP.iter_unpack(self._steps)
        self._steps = b"".join(_STEP.pack(minute + minutes, power) for minute, power in steps)


def _minute(steps: bytes, offset: int) -> int:
    """Return the minute of the step at `offset`, which counts from the end if it is negative."""
    minute: int = _STEP.unpack_from(steps, offset)[0]
    return minute


@dataclass(slots=True)
class StationHistory:
    """The history of a station. Times are in UTC.

    Attributes:
        polled: When the last poll completed.
        since: When the reason last changed.
        error: The detail of the last failed poll; kept after the station has recovered.
        error_at: When that poll failed.
        note: The notes about the last useful response.
        revision: The revision of the whole history at the last change of this station.
        plugs: Those of its plugs; a dict takes more memory.
        correction: The sum of all shifts of the clock that the times include.
    """

    polled: datetime | None = None
    since: datetime | None = None
    error: str = ""
    error_at: datetime | None = None
    note: str = ""
    revision: int = 0
    plugs: tuple[PlugHistory, ...] = ()
    correction: timedelta = _NO_CORRECTION

    def plug(self, uuid: str) -> PlugHistory | None:
        """Return the history of a plug; `None` if there is none."""
        return next((plug for plug in self.plugs if plug.uuid == uuid), None)

    def correct(self, correction: timedelta) -> None:
        """Correct all times, because the clock was set; `correction` is the new sum of all shifts."""
        difference, self.correction = correction - self.correction, correction
        self.polled = self.polled and self.polled + difference
        self.since = self.since and self.since + difference
        self.error_at = self.error_at and self.error_at + difference
        for plug in self.plugs:
            plug.shift(difference)


class History(events.Listener):
    """Listener that keeps the history of each station.

    Attributes:
        revision: Increases with everything that a client may see, such as each poll, so that a client can request the
            changes since a revision.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._is_kept = True
        self._stations: dict[str, StationHistory] = {}
        self._correction = _NO_CORRECTION

    def keep(self, *, is_kept: bool) -> None:
        """Keep the history from now on, or drop it because nobody reads it.

        If a station was already polled, its first poll after that counts as a change.
        """
        self._is_kept = is_kept
        if not is_kept:
            self._stations.clear()

    def station(self, uuid: str) -> StationHistory:
        """Return the history of a station; an empty one before its first poll."""
        history = self._stations.get(uuid) or StationHistory()
        self._correct(history)
        return history

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Record a poll and its changes."""
        if not self._is_kept:
            return
        old, new, outcome = event.old, event.new, event.outcome
        uuid, at = event.station.uuid, event.moment.utc
        history = self._stations.get(uuid)
        if history is None:
            history = self._stations[uuid] = StationHistory()
            if old.reason is not None:
                old = _UNKNOWN
        self._correct(history)
        self.revision = history.revision = self.revision + 1
        history.polled = at
        if isinstance(outcome, Failure):
            history.error, history.error_at = (new.failure or outcome).detail, at
        else:
            history.note = _shorten(outcome.notes) if outcome.notes else ""
        if event.has_changes or old is _UNKNOWN:
            _record_changes(history, old, new, at)

    def state_aged(self, event: events.StateAged) -> None:
        """Record plugs whose measurements became too old."""
        history = self._stations.get(event.station.uuid)
        if history is not None:
            self._correct(history)
            self.revision = history.revision = self.revision + 1
            if event.new.failure is not None:
                history.error = event.new.failure.detail
            _record_changes(history, event.old, event.new, event.moment.utc)

    def clock_changed(self, event: events.ClockChanged) -> None:
        """Correct the times of each station when it is used next, because there may be thousands of stations."""
        self.revision += 1
        self._correction += event.shift

    def station_removed(self, event: events.StationRemoved) -> None:
        """Drop the history of a station."""
        self.revision += 1
        self._stations.pop(event.uuid, None)

    def _correct(self, history: StationHistory) -> None:
        if history.correction is not self._correction:
            history.correct(self._correction)


def _record_changes(history: StationHistory, old: StationState, new: StationState, at: datetime) -> None:
    if new.reason is not old.reason:
        history.since = at
    plugs_before = old.plugs
    for uuid, plug in new.plugs.items():
        before = plugs_before.get(uuid)
        if before is None or plug.reason is not before.reason:
            _record_plug(history, before, plug, at)
            continue
        # Compared in place, without a call: neither the reason nor the power changes in most polls.
        old_reading, reading = before.reading, plug.reading
        if old_reading is not reading and (
            old_reading is None or reading is None or old_reading.power != reading.power
        ):
            _record_plug(history, before, plug, at)
    if len(history.plugs) > len(new.plugs):
        history.plugs = tuple(plug for plug in history.plugs if plug.uuid in new.plugs)


def _record_plug(history: StationHistory, before: PlugState | None, plug: PlugState, at: datetime) -> None:
    plug_history = history.plug(plug.uuid)
    if plug_history is None:
        plug_history = PlugHistory(plug.uuid, at)
        history.plugs = (*history.plugs, plug_history)
    elif before is None or plug.reason is not before.reason:
        plug_history.since = at
    power = _live_power(plug)
    if before is None or power != _live_power(before):
        plug_history.add_power(at, power)


def _live_power(plug: PlugState) -> float | None:
    """Return the power of an available plug; `None` during an outage, when the last measurement is out of date."""
    return plug.reading.power if plug.reading and plug.reason is Reason.ONLINE else None


def _shorten(notes: tuple[str, ...]) -> str:
    """Return the first notes and the number of further ones, because a response may have thousands."""
    more = len(notes) - _NOTES_LIMIT
    return "; ".join(notes[:_NOTES_LIMIT] if more <= 0 else (*notes[:_NOTES_LIMIT], f"and {more} more"))
