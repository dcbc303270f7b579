"""Writes log lines for the events of a running bridge: one at the start of an outage, one at its end.

Repeated failures are logged at level debug. The number of lines about stations and plugs is limited, because thousands
of stations may fail at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Failure, PlugState, Reason, Station, StationState
from evse_mqtt_bridge.mqtt.reconnect import STEADY_AFTER
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.rate_limiter import RateLimiter
from evse_mqtt_bridge.observability.recent_keys import RecentKeys
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.text import clean

__all__ = ["LINES_PER_MINUTE", "LOGGED_ONCE_LIMIT", "EventLog"]

LINES_PER_MINUTE = 60
"""Maximum number of lines about stations and plugs per minute; further ones are only counted."""

LOGGED_ONCE_LIMIT = 1000
"""Number of lines to remember that are logged only once; older ones may be logged a second time."""

_RATE_LIMITED_PAUSE = 600.0
"""Minimum time between two lines about a requested pause (Retry-After), in seconds."""

_OUTAGES = frozenset({events.DisconnectReason.LOST, events.DisconnectReason.UNREACHABLE})

_UNSTABLE = frozenset({events.DisconnectReason.TAKEN_OVER, events.DisconnectReason.UNSTEADY})
"""After one of these, connects and disconnects are logged at level debug until a connection lasts."""

_REJECTED_ADVICE = {Reason.UNAUTHORIZED: "check its token", Reason.NOT_FOUND: "check edge_device_id and uuid"}
"""The reasons that need action by the user, each with the advice."""

_BROKER_EVENTS = {
    events.DisconnectReason.TAKEN_OVER: LogEvent.CLIENT_ID_IN_USE,
    events.DisconnectReason.UNSTEADY: LogEvent.BROKER_CONNECTION_UNSTABLE,
    events.DisconnectReason.LOGIN: LogEvent.BROKER_LOGIN_REJECTED,
    events.DisconnectReason.REFUSED: LogEvent.BROKER_CONNECTION_REJECTED,
    events.DisconnectReason.TLS: LogEvent.BROKER_TLS_FAILED,
    events.DisconnectReason.UNREACHABLE: LogEvent.BROKER_UNREACHABLE,
    events.DisconnectReason.LOST: LogEvent.BROKER_CONNECTION_LOST,
}

_BROKER_ADVICE = {
    events.DisconnectReason.TAKEN_OVER: "give each bridge its own mqtt.client_id",
    events.DisconnectReason.UNSTEADY: "give each bridge its own mqtt.client_id; if each has one, see the broker's log",
    events.DisconnectReason.LOGIN: "check mqtt.username, mqtt.password and the broker's access rules for this user",
}


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


class EventLog(events.Listener):
    """Listener that writes the log.

    Args:
        log: The logger; a reload may replace it.
        now: Returns monotonic seconds.
        broker_address: Host and port, for lines about the broker.
        client_id: The bridge's MQTT client id, for lines about the broker.
    """

    def __init__(self, log: Logger, now: Callable[[], float], broker_address: str, client_id: str) -> None:
        self.log = log
        self._now = now
        self._broker_address = broker_address
        self._client_id = client_id
        self._rate_limiter = RateLimiter(LINES_PER_MINUTE)
        self._outages: dict[str, _Outages] = {}
        self._notes = RecentKeys(LOGGED_ONCE_LIMIT)
        self._rejections = RecentKeys(LOGGED_ONCE_LIMIT)
        self._rate_limited_logged_until = 0.0
        self._connected_at: float | None = None
        self._was_connected = False
        self._disconnected_since: float | None = None
        self._disconnects_logged: set[events.DisconnectReason] = set()

    def tick(self) -> None:
        """Write the lines that no event triggers. Call it every few seconds.

        These are the number of suppressed lines, and the connection that lasts again after unstable ones.
        """
        now = self._now()
        if self._connected_at is not None and self._disconnects_logged and now - self._connected_at >= STEADY_AFTER:
            self._log_connected()
        if lines := self._rate_limiter.pop_suppressed(now):
            log_event(self.log, LogEvent.LINES_SUPPRESSED, lines=lines)

    # Stations and plugs

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Log what the poll changed. It runs thousands of times per second, mostly without a change."""
        station, old, new, outcome, _, _ = event
        if isinstance(outcome, Failure):
            name, reason = clean(station.title), outcome.reason
            log_event(self.log, LogEvent.POLL_FAILED, station=name, reason=reason, detail=outcome.detail)
            self._log_rate_limit(outcome)
        elif outcome.notes:
            self._log_notes(station, outcome.notes)
        if new.reason is not old.reason:
            self._station_changed(station, new)
        if new.reason is Reason.ONLINE:
            self._plugs_changed(station, old.plugs, new.plugs)
            if not old.plugs.keys() <= new.plugs.keys():
                for uuid in old.plugs.keys() - new.plugs.keys():
                    self._plug_removed(station, uuid)

    def state_aged(self, event: events.StateAged) -> None:
        """Log the plugs whose values became too old, or a failure that counts because plugs were restored."""
        if event.new.reason is not event.old.reason:
            self._station_changed(event.station, event.new)
        else:
            self._plugs_changed(event.station, event.old.plugs, event.new.plugs)

    def station_removed(self, event: events.StationRemoved) -> None:
        """Forget the outages of a station. The reload that removed it has a line of its own."""
        self._outages.pop(event.uuid, None)

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
            self._station_unavailable(station, new.reason, new.failure.detail if new.failure else "")

    def _station_available(self, station: Station, plugs: int) -> None:
        outages = self._outages.get(station.uuid)
        if outages is None or outages.station_since is None:
            self._log_limited(LogEvent.STATION_AVAILABLE, station=clean(station.title), plugs=plugs)
            return
        after = format_duration(self._now() - outages.station_since)
        outages.station_since = None
        outages.rejections.clear()
        self._log_limited(LogEvent.STATION_AVAILABLE_AGAIN, station=clean(station.title), after=after)

    def _station_unavailable(self, station: Station, reason: Reason | None, detail: str) -> None:
        outages = self._outages.setdefault(station.uuid, _Outages())
        is_new = outages.station_since is None
        if is_new:
            outages.station_since = self._now()
        fields = {"station": clean(station.title), "reason": reason, "detail": detail}
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

    # The broker

    def broker_changed(self, event: events.BrokerChanged) -> None:
        """Forget what was logged about the previous broker. Outages of stations are kept."""
        self._broker_address, self._client_id = event.address, event.client_id
        self._disconnects_logged.clear()
        self._rejections.clear()
        self._connected_at = self._disconnected_since = None
        self._was_connected = False

    def broker_connected(self, event: events.BrokerConnected) -> None:  # noqa: ARG002  # it has no attributes
        """Log the connection. After unstable ones, `tick` logs it once it has lasted."""
        self._connected_at = self._now()
        if self._disconnects_logged & _UNSTABLE:
            log_event(self.log, LogEvent.BROKER_RECONNECTED, broker=self._broker_address)
        else:
            self._log_connected()

    def _log_connected(self) -> None:
        fields = {"broker": self._broker_address}
        if self._disconnected_since is not None and self._was_connected:
            fields["after"] = format_duration(self._now() - self._disconnected_since)
        log_event(self.log, LogEvent.BROKER_CONNECTED, **fields)
        self._was_connected = True
        self._disconnected_since = None
        self._disconnects_logged.clear()

    def broker_disconnected(self, event: events.BrokerDisconnected) -> None:
        """Log each reason once per outage."""
        self._connected_at = None
        reason = event.reason
        fields = {
            "broker": self._broker_address,
            "detail": event.detail,
            "next_attempt": format_duration(event.retry_in),
        }
        is_known_outage = reason in _OUTAGES and self._disconnects_logged & _UNSTABLE
        if reason in self._disconnects_logged or is_known_outage:
            log_event(self.log, LogEvent.BROKER_STILL_DISCONNECTED, **fields)
            return
        self._disconnects_logged.add(reason)
        if self._disconnected_since is None:
            self._disconnected_since = self._now()
        if reason in _UNSTABLE:
            fields["client_id"] = self._client_id
        if reason in _BROKER_ADVICE:
            fields["advice"] = _BROKER_ADVICE[reason]
        log_event(self.log, _BROKER_EVENTS[reason], **fields)

    def older_version_used(self, event: events.OlderVersionUsed) -> None:
        """Log the version."""
        log_event(self.log, LogEvent.OLDER_VERSION_USED, broker=self._broker_address, version=event.version)

    def publish_forbidden(self, event: events.PublishForbidden) -> None:
        """Log the topics."""
        log_event(self.log, LogEvent.PUBLISH_FORBIDDEN, filter=event.topic_filter, broker=self._broker_address)

    def publish_rejected(self, event: events.PublishRejected) -> None:
        """Log a rejected message once per topic."""
        if self._rejections.add(("publish", event.topic)):
            self._log_limited(LogEvent.PUBLISH_REJECTED, topic=clean(event.topic, 256), reason=event.detail)

    def subscription_rejected(self, event: events.SubscriptionRejected) -> None:
        """Log a rejected subscription once per topic filter."""
        if self._rejections.add(("subscription", event.topic_filter)):
            log_event(self.log, LogEvent.SUBSCRIPTION_REJECTED, filter=event.topic_filter)

    def restore_uncertain(self, event: events.RestoreUncertain) -> None:
        """Log each reason once."""
        if self._rejections.add(("restore", event.detail)):
            log_event(self.log, LogEvent.RESTORE_UNCERTAIN, detail=event.detail, topic=event.marker_topic)

    def consumer_started(self, event: events.ConsumerStarted) -> None:  # noqa: ARG002  # it has no attributes
        """Log that everything is republished."""
        log_event(self.log, LogEvent.CONSUMER_STARTED)

    def offline_not_acknowledged(self, event: events.OfflineNotAcknowledged) -> None:  # noqa: ARG002  # see above
        """Log that the broker is left to publish the will."""
        log_event(self.log, LogEvent.OFFLINE_NOT_ACKNOWLEDGED)

    # The machine and the configuration

    def clock_changed(self, event: events.ClockChanged) -> None:
        """Log by how much the clock was set."""
        seconds = event.shift.total_seconds()
        change = f"{'+' if seconds > 0 else '-'}{format_duration(abs(seconds))}"
        self._log_limited(LogEvent.CLOCK_CHANGED, change=change)

    def configuration_applied(self, event: events.ConfigurationApplied) -> None:
        """Log the reload."""
        numbers = {"added": event.added, "removed": event.removed, "changed": event.changed}
        log_event(self.log, LogEvent.CONFIGURATION_APPLIED, stations=event.stations, **numbers)

    def configuration_rejected(self, event: events.ConfigurationRejected) -> None:
        """Log one line per problem."""
        for problem in event.problems:
            log_event(self.log, LogEvent.CONFIGURATION_REJECTED, problem=problem)
