"""Observes polls and the session, and keeps what is shown of them: history, counters, the state of the broker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome, StationState
from evse_mqtt_bridge.mqtt.connection import Disconnected
from evse_mqtt_bridge.mqtt.session import SessionLog
from evse_mqtt_bridge.observability.counters import Counters
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.snapshot import BrokerSnapshot

__all__ = ["Both", "Witness"]


@dataclass(slots=True)
class Witness:
    """A SessionLog among other things; `utc` is the time, `last_poll` (monotonic seconds) when the last poll ended.

    `accepted` tells whether the last reload was, and `configured` when the configuration that is in force was taken
    over (UTC), at the start for the first time.
    """

    utc: Callable[[], datetime]
    last_poll: float
    history: History = field(default_factory=History)
    counters: Counters = field(default_factory=Counters)
    connected: bool = False
    trouble: str = ""
    accepted: bool = True
    configured: datetime = field(init=False)
    _since: datetime | None = None

    def __post_init__(self) -> None:
        self.configured = self.utc()

    def polled(self, uuid: str, states: tuple[StationState, StationState], outcome: Outcome, moment: Moment) -> None:
        """One poll ended, and turned the first of `states` into the second."""
        self.last_poll = moment.monotonic
        self.history.polled(uuid, *states, outcome, moment.utc)

    def reloaded(self, *, accepted: bool) -> None:
        """A changed configuration was taken over, or refused."""
        self.counters.reloads["taken" if accepted else "refused"] += 1
        self.accepted = accepted
        if accepted:
            self.configured = self.utc()

    def broker_left(self) -> None:
        """The bridge itself ended the connection, to go to another broker."""
        self.connected, self.trouble, self._since = False, "", self.utc()

    def broker(self, address: str) -> BrokerSnapshot:
        """The broker as it is seen; before the first connection since the start."""
        return BrokerSnapshot(address, self.connected, self._since or self.utc(), self.trouble)

    # What a session tells

    def broker_connected(self) -> None:
        """A connection was accepted."""
        self.counters.connected += 1
        self.connected, self.trouble, self._since = True, "", self.utc()

    def broker_ended(self, ended: Disconnected, wait: float) -> None:  # noqa: ARG002  # as SessionLog has it
        """A connection, or an attempt, ended."""
        self.counters.ended[ended.trouble.value] += 1
        if self.connected or self._since is None:
            self._since = self.utc()
        self.connected, self.trouble = False, ended.detail

    def publish_refused(self, topic: str, reason: str) -> None:  # noqa: ARG002  # same
        """The broker will not have a publication."""
        self.counters.refused += 1

    def subscription_refused(self, topic_filter: str) -> None:
        """Of no matter here."""

    def birth_seen(self) -> None:
        """Of no matter here."""

    def farewell_failed(self) -> None:
        """Of no matter here."""


@dataclass(frozen=True, slots=True)
class Both:
    """Two SessionLogs as one."""

    first: SessionLog
    second: SessionLog

    def broker_connected(self) -> None:
        """To both, as is all that follows."""
        self.first.broker_connected()
        self.second.broker_connected()

    def broker_ended(self, ended: Disconnected, wait: float) -> None:
        """See broker_connected."""
        self.first.broker_ended(ended, wait)
        self.second.broker_ended(ended, wait)

    def publish_refused(self, topic: str, reason: str) -> None:
        """See broker_connected."""
        self.first.publish_refused(topic, reason)
        self.second.publish_refused(topic, reason)

    def subscription_refused(self, topic_filter: str) -> None:
        """See broker_connected."""
        self.first.subscription_refused(topic_filter)
        self.second.subscription_refused(topic_filter)

    def birth_seen(self) -> None:
        """See broker_connected."""
        self.first.birth_seen()
        self.second.birth_seen()

    def farewell_failed(self) -> None:
        """See broker_connected."""
        self.first.farewell_failed()
        self.second.farewell_failed()
