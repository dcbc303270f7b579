"""Writes log lines for the events of a running bridge: about the broker, the configuration, and stations and plugs."""

from collections.abc import Callable

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.mqtt.reconnect import STEADY_AFTER
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.recent_keys import RecentKeys
from evse_mqtt_bridge.observability.station_log import LOGGED_ONCE_LIMIT, StationLog
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.text import clean

__all__ = ["EventLog"]

_OUTAGES = frozenset({events.DisconnectReason.LOST, events.DisconnectReason.UNREACHABLE})

_UNSTABLE = frozenset({events.DisconnectReason.TAKEN_OVER, events.DisconnectReason.UNSTEADY})
"""After one of these, connects and disconnects are logged at level debug until a connection lasts."""

_ZERO_METERS_PAUSE = 10.0
"""Seconds in which the meters that start at 0 gather for one line."""

_BROKER_EVENTS = {
    events.DisconnectReason.TAKEN_OVER: LogEvent.CLIENT_ID_IN_USE,
    events.DisconnectReason.UNSTEADY: LogEvent.BROKER_CONNECTION_UNSTABLE,
    events.DisconnectReason.LOGIN: LogEvent.BROKER_LOGIN_REJECTED,
    events.DisconnectReason.REFUSED: LogEvent.BROKER_CONNECTION_REJECTED,
    events.DisconnectReason.TLS: LogEvent.BROKER_TLS_FAILED,
    events.DisconnectReason.UNREACHABLE: LogEvent.BROKER_UNREACHABLE,
    events.DisconnectReason.LOST: LogEvent.BROKER_CONNECTION_LOST,
}

# With the same base topic, two client ids do not help: the bridges would overwrite each other's topics.
_SAME_CLIENT_ID = (
    "if this bridge runs twice, stop one; otherwise give each bridge its own mqtt.client_id and mqtt.base_topic"
)

_BROKER_ADVICE = {
    events.DisconnectReason.TAKEN_OVER: _SAME_CLIENT_ID,
    events.DisconnectReason.UNSTEADY: f"{_SAME_CLIENT_ID}; if each has its own, see the broker's log",
    events.DisconnectReason.LOGIN: "check mqtt.username, mqtt.password and the broker's access rules for this user",
}


_SHARD_ADVICE = (
    "let one member only run each shard (fleet.share), and give each fleet its own mqtt.client_id; else see the "
    "broker's log"
)


class EventLog(StationLog):
    """Listener that writes the log.

    Args:
        log: The logger; a reload may replace it.
        now: Returns monotonic seconds.
        broker_address: Host and port, for lines about the broker.
        client_id: The bridge's MQTT client id, for lines about the broker.
    """

    def __init__(self, log: Logger, now: Callable[[], float], broker_address: str, client_id: str) -> None:
        super().__init__(log, now)
        self._broker_address = broker_address
        self._client_id = client_id
        self._rejections = RecentKeys(LOGGED_ONCE_LIMIT)
        self._connected_at: float | None = None
        self._was_connected = False
        self._disconnected_since: float | None = None
        self._disconnects_logged: set[events.DisconnectReason] = set()
        self._zero_meters = 0
        self._zero_meters_station = ""
        self._zero_meters_since = 0.0

    def tick(self) -> None:
        """Write the lines that no event triggers. Call it every few seconds.

        These are the number of suppressed lines, the counters that start at 0, and the connection that lasts again
        after unstable ones.
        """
        now = self._now()
        if self._connected_at is not None and self._disconnects_logged and now - self._connected_at >= STEADY_AFTER:
            self._log_connected()
        if self._zero_meters and now - self._zero_meters_since >= _ZERO_METERS_PAUSE:
            fields = {"plugs": self._zero_meters, "station": self._zero_meters_station}
            self._zero_meters = 0
            log_event(self.log, LogEvent.COUNTERS_START_AT_ZERO, **fields)
        if lines := self._rate_limiter.pop_suppressed(now):
            log_event(self.log, LogEvent.LINES_SUPPRESSED, lines=lines)

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
        if reason in _UNSTABLE and event.is_of_member:
            fields["advice"] = _SHARD_ADVICE
        elif reason in _BROKER_ADVICE:
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

    def same_stations(self, event: events.SameStations) -> None:
        """Log each other bridge once."""
        if self._rejections.add(("bridge", event.base_topic, event.client_id)):
            fields = {"client_id": clean(event.client_id, 256), "base_topic": clean(event.base_topic, 256)}
            log_event(self.log, LogEvent.SAME_STATIONS, **fields, stations=event.stations)

    def other_bridge_stopped(self, event: events.OtherBridgeStopped) -> None:
        """Log that the topics are published again."""
        fields = {"client_id": clean(event.client_id, 256), "base_topic": clean(event.base_topic, 256)}
        log_event(self.log, LogEvent.OTHER_BRIDGE_STOPPED, **fields)

    def topics_disturbed(self, event: events.TopicsDisturbed) -> None:
        """Log what happened to one of the topics, and their number."""
        what = "cleared" if event.is_cleared else "overwritten"
        fields = {"topics": event.topics, "topic": clean(event.example, 256), "detail": what}
        log_event(self.log, LogEvent.TOPICS_DISTURBED, **fields)

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

    def shard_begun(self, event: events.ShardBegun) -> None:
        """Log the shard."""
        self._is_in_fleet = True
        fields = {"previous": event.previous} if event.previous else {}
        log_event(self.log, LogEvent.SHARD_BEGUN, shard=event.shard, stations=event.stations, **fields)

    def shard_handed_over(self, event: events.ShardHandedOver) -> None:
        """Log the shard."""
        fields = {"successor": event.successor} if event.successor else {}
        log_event(self.log, LogEvent.SHARD_HANDED_OVER, shard=event.shard, stations=event.stations, **fields)

    def shard_lost(self, event: events.ShardLost) -> None:
        """Log the shard."""
        fields = {"holder": event.holder} if event.holder else {}
        log_event(self.log, LogEvent.SHARD_LOST, shard=event.shard, stations=event.stations, **fields)

    def engine_unavailable(self, event: events.EngineUnavailable) -> None:
        """Log the outage once."""
        kind = LogEvent.ENGINE_REFUSED if event.is_refused else LogEvent.ENGINE_UNAVAILABLE
        log_event(self.log, kind, detail=clean(event.detail, 300))

    def engine_available(self, event: events.EngineAvailable) -> None:
        """Log the end of the outage."""
        fields = {"after": format_duration(event.after)} if event.after else {}
        log_event(self.log, LogEvent.ENGINE_AVAILABLE, **fields)

    def fleet_conflict_changed(self, event: events.FleetConflictChanged) -> None:
        """Log the conflict, or its end."""
        if event.detail:
            log_event(self.log, LogEvent.FLEET_CONFLICT, detail=event.detail)
        else:
            log_event(self.log, LogEvent.FLEET_CONFLICT_RESOLVED)

    def history_failed(self, event: events.HistoryFailed) -> None:
        """Log that the history cannot be written."""
        fields = {"set_aside": event.set_aside} if event.set_aside else {}
        log_event(self.log, LogEvent.HISTORY_FAILED, detail=clean(event.detail, 300), **fields)

    def history_restored(self, event: events.HistoryRestored) -> None:  # noqa: ARG002  # see Listener
        """Log that the history is written again."""
        log_event(self.log, LogEvent.HISTORY_RESTORED)

    def meters_started(self, event: events.MetersStarted) -> None:
        """Log later, for all stations together, that meters start at 0."""
        if event.at_zero:
            if not self._zero_meters:
                self._zero_meters_station, self._zero_meters_since = event.station.title, self._now()
            self._zero_meters += event.at_zero
