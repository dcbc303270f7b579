"""Writes log lines about stations and plugs: one at the start of an outage, one at its end.

Repeated failures are logged at level debug. The number of lines is limited, because thousands of stations may fail at
once. If the cloud rejects all of them, one line stands for all. So the line about a rejected station waits until it is
known whether the rejection concerns the station (domain/attribution.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Attribution, Failure, PlugState, Reason, Station, StationState
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.rate_limiter import RateLimiter
from evse_mqtt_bridge.observability.recent_keys import RecentKeys
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.text import clean

__all__ = ["LINES_PER_MINUTE", "LOGGED_ONCE_LIMIT", "StationLog"]

LINES_PER_MINUTE = 60
"""Maximum number of lines about stations and plugs per minute; further ones are only counted."""

LOGGED_ONCE_LIMIT = 1000
"""Number of keys to keep, of lines that are logged only once; older ones may be logged a second time."""

_RATE_LIMITED_PAUSE = 600.0
"""Minimum time between two lines about a requested pause (Retry-After), in seconds."""

_REJECTED_ADVICE = {Reason.UNAUTHORIZED: "check its token", Reason.NOT_FOUND: "check edge_device_id and uuid"}
"""The reasons that need action by the user, each with the advice."""

_HELD = frozenset({Attribution.UNDECIDED, Attribution.CLOUD})
"""With these attributions, the line about an outage is held, because it concerns the station only perhaps, or not."""


@dataclass(slots=True)
class _Outages:
    """The logged outages of one station and its plugs.

    Attributes:
        station_since: When the station became unavailable, in monotonic seconds; `None` while it is available.
        rejections: The reasons of this outage that were logged with advice.
        plugs_since: When each unavailable plug became unavailable, in monotonic seconds, by plug uuid.
    """

    station_since: float | None = None
    rejections: set[Reason] = field(default_factory=set)
    plugs_since: dict[str, float] = field(default_factory=dict)


class StationLog(events.Listener):
    """Listener that writes the lines about stations and plugs.

    Args:
        log: The logger; a reload may replace it.
        now: Returns monotonic seconds.
    """

    def __init__(self, log: Logger, now: Callable[[], float]) -> None:
        self.log = log
        self._now = now
        self._rate_limiter = RateLimiter(LINES_PER_MINUTE)
        self._outages: dict[str, _Outages] = {}
        self._held: set[str] = set()
        """The stations whose line is held."""
        self._notes = RecentKeys(LOGGED_ONCE_LIMIT)
        self._rate_limited_logged_until = 0.0
        self._is_in_fleet = False
        """Whether an engine assigns shards. The line about a shard then stands for the first responses of its stations,
        which would suppress lines about outages at each take-over."""

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Log what the poll changed. It runs thousands of times per second, mostly without a change."""
        station, old, new, outcome = event.station, event.old, event.new, event.outcome
        if isinstance(outcome, Failure):
            failure = new.failure or outcome
            name, reason = clean(station.title), failure.reason
            log_event(self.log, LogEvent.POLL_FAILED, station=name, reason=reason, detail=failure.detail)
            self._log_rate_limit(failure)
        elif outcome.notes:
            self._log_notes(station, outcome.notes)
        if not event.has_changes and not self._held:
            return
        if old.reason is None and new.reason is not None:
            self._forget(station.uuid)  # another member of the fleet may have polled the station meanwhile
        if new.reason is not old.reason or (self._held and station.uuid in self._held):
            self._station_changed(station, new)
        if new.reason is Reason.ONLINE:
            self._plugs_changed(station, old.plugs, new.plugs)
            if not old.plugs.keys() <= new.plugs.keys():
                for uuid in old.plugs.keys() - new.plugs.keys():
                    self._plug_removed(station, uuid)

    def state_aged(self, event: events.StateAged) -> None:
        """Log the plugs whose values became too old, or the station whose last failure counts only now."""
        if event.new.reason is not event.old.reason or event.station.uuid in self._held:
            self._station_changed(event.station, event.new)
        else:
            self._plugs_changed(event.station, event.old.plugs, event.new.plugs)

    def station_removed(self, event: events.StationRemoved) -> None:
        """Forget the outages of a station. The reload that removed it has a line of its own."""
        self._forget(event.uuid)

    def _forget(self, uuid: str) -> None:
        self._outages.pop(uuid, None)
        self._held.discard(uuid)

    def cloud_rejecting(self, event: events.CloudRejecting) -> None:
        """Log one line for all stations."""
        self._log_limited(LogEvent.CLOUD_REJECTING, stations=event.stations, detail=event.detail)

    def cloud_answering(self, event: events.CloudAnswering) -> None:
        """Log the end of `cloud_rejecting`."""
        self._log_limited(LogEvent.CLOUD_ANSWERING, after=format_duration(event.after))

    def _log_notes(self, station: Station, notes: tuple[str, ...]) -> None:
        for note in notes:
            if self._notes.add((note,)):
                self._log_limited(LogEvent.UNUSUAL_ANSWER, station=clean(station.title), detail=note)

    def _log_rate_limit(self, failure: Failure) -> None:
        now = self._now()
        if failure.retry_after is None or now < self._rate_limited_logged_until:
            return
        self._rate_limited_logged_until = now + max(failure.retry_after, _RATE_LIMITED_PAUSE)
        wait = format_duration(failure.retry_after)
        log_event(self.log, LogEvent.CLOUD_RATE_LIMITED, wait=wait, detail=failure.detail)

    def _station_changed(self, station: Station, new: StationState) -> None:
        if new.reason is Reason.ONLINE:
            self._station_available(station, plugs=len(new.plugs))
        else:
            self._station_unavailable(station, new)

    def _station_available(self, station: Station, plugs: int) -> None:
        outages = self._outages.get(station.uuid)
        if outages is None or outages.station_since is None:
            if not self._is_in_fleet:
                self._log_limited(LogEvent.STATION_AVAILABLE, station=clean(station.title), plugs=plugs)
            return
        after = format_duration(self._now() - outages.station_since)
        outages.station_since = None
        outages.rejections.clear()
        if station.uuid in self._held:
            self._held.discard(station.uuid)
            return
        self._log_limited(LogEvent.STATION_AVAILABLE_AGAIN, station=clean(station.title), after=after)

    def _station_unavailable(self, station: Station, new: StationState) -> None:
        reason, failure = new.reason, new.failure
        outages = self._outages.setdefault(station.uuid, _Outages())
        is_new = outages.station_since is None
        if is_new:
            outages.station_since = self._now()
        fields = {"station": clean(station.title), "reason": reason, "detail": failure.detail if failure else ""}
        if is_new or station.uuid in self._held:
            if failure is not None and failure.attribution in _HELD:
                self._held.add(station.uuid)
                log_event(self.log, LogEvent.STATION_STILL_UNAVAILABLE, **fields)
                return
            self._held.discard(station.uuid)
            is_new = True
        if reason in _REJECTED_ADVICE and reason not in outages.rejections:
            outages.rejections.add(reason)
            self._log_limited(LogEvent.STATION_REJECTED, **fields, advice=_REJECTED_ADVICE[reason])
        elif is_new:
            self._log_limited(LogEvent.STATION_UNAVAILABLE, **fields)
        else:
            log_event(self.log, LogEvent.STATION_STILL_UNAVAILABLE, **fields)

    def _plugs_changed(self, station: Station, old: Mapping[str, PlugState], new: Mapping[str, PlugState]) -> None:
        for uuid, plug in new.items():
            before = old.get(uuid)
            if before is None or before.reason is not plug.reason:
                self._plug_changed(station, plug)

    def _plug_changed(self, station: Station, plug: PlugState) -> None:
        outages = self._outages.get(station.uuid)
        fields = {"station": clean(station.title), "plug": clean(station.plug_title(plug.uuid, plug.label))}
        if plug.reason is Reason.ONLINE:
            since = outages.plugs_since.pop(plug.uuid, None) if outages else None
            if since is not None:
                self._log_limited(LogEvent.PLUG_AVAILABLE_AGAIN, **fields, after=format_duration(self._now() - since))
            return
        if outages is None:
            outages = self._outages[station.uuid] = _Outages()
        if plug.uuid not in outages.plugs_since:
            outages.plugs_since[plug.uuid] = self._now()
            self._log_limited(LogEvent.PLUG_UNAVAILABLE, **fields, reason=plug.reason)

    def _plug_removed(self, station: Station, uuid: str) -> None:
        if outages := self._outages.get(station.uuid):
            outages.plugs_since.pop(uuid, None)
        self._log_limited(LogEvent.PLUG_REMOVED, station=clean(station.title), plug=uuid)

    def _log_limited(self, event: LogEvent, **fields: object) -> None:
        if self._rate_limiter.allows(self._now()):
            log_event(self.log, event, **fields)
