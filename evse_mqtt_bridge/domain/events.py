"""Events of a running bridge, and the interface of its listeners.

Each event leads to one call per listener, in the order of the tuple of listeners (service/observers.py). A listener
overrides the methods that it needs. It must not raise, must not block, and should not keep events.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from enum import Enum
from typing import Any

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.support.value_class import value_class

__all__ = [
    "BrokerChanged",
    "BrokerConnected",
    "BrokerDisconnected",
    "ClockChanged",
    "CloudAnswering",
    "CloudRejecting",
    "ConfigurationApplied",
    "ConfigurationRejected",
    "ConsumerStarted",
    "DisconnectReason",
    "EngineAvailable",
    "EngineUnavailable",
    "FleetConflictChanged",
    "HistoryFailed",
    "HistoryRestored",
    "Listener",
    "Listeners",
    "MetersStarted",
    "OfflineNotAcknowledged",
    "OlderVersionUsed",
    "OtherBridgeStopped",
    "PollCompleted",
    "PublishForbidden",
    "PublishRejected",
    "ReloadStarted",
    "RestoreUncertain",
    "SameStations",
    "ShardBegun",
    "ShardHandedOver",
    "ShardLost",
    "StateAged",
    "StationRemoved",
    "SubscriptionRejected",
    "TokenRejected",
    "TopicsDisturbed",
]


class DisconnectReason(Enum):
    """Why there is no connection to the broker; the values are label values of a metric.

    `TAKEN_OVER`: the broker reported the reason. `UNSTEADY`: the broker reported none, and the bridge concludes it from
    several short-lived connections.
    """

    UNREACHABLE = "unreachable"
    TLS = "tls"
    LOGIN = "login"
    REFUSED = "refused"
    LOST = "lost"
    TAKEN_OVER = "taken_over"
    UNSTEADY = "unsteady"


@value_class
class PollCompleted:
    """A poll completed; most polls leave the state as it was.

    Attributes:
        station: The station.
        old: The state before the poll.
        new: The state after it.
        outcome: The outcome of the poll, without plugs that have no topic. `new.failure` has its attribution, too.
        moment: When the outcome arrived.
        seconds: Duration of the request.
        has_changes: Whether the bridge has to publish anything to lead from `old` to `new`. If not, each plug has the
            same reason, and the same values except for their time and the counts of its meter.
    """

    station: Station
    old: StationState
    new: StationState
    outcome: Outcome
    moment: Moment
    seconds: float
    has_changes: bool


@value_class
class StateAged:
    """A state changed without a poll of its station.

    Values became too old, a failure counts because plugs were restored, a rejection turned out to concern the station,
    or repeated responses were evaluated later, see repeats.py.

    Attributes:
        station: The station.
        old: The state before.
        new: The state after.
        moment: When the change was detected.
    """

    station: Station
    old: StationState
    new: StationState
    moment: Moment


@value_class
class TokenRejected:
    """The cloud rejected the token of a station, or seems to; whether the token is wrong may not be known yet."""

    uuid: str


@value_class
class CloudRejecting:
    """The cloud rejects every station, so that the rejections concern no single one.

    Attributes:
        detail: The text of the last rejection.
        stations: Number of rejected stations so far.
    """

    detail: str
    stations: int


@value_class
class CloudAnswering:
    """The cloud answers a station again after `CloudRejecting`.

    Attributes:
        after: Seconds since the first rejection.
    """

    after: float


@value_class
class StationRemoved:
    """A station is no longer in the configuration."""

    uuid: str


@value_class
class BrokerChanged:
    """The settings of the broker connection changed, and a new session begins; the old connection is closed.

    Attributes:
        address: Host and port.
    """

    address: str
    client_id: str


@value_class
class BrokerConnected:
    """The broker accepted a connection."""


@value_class
class BrokerDisconnected:
    """A connection to the broker was lost, or could not be established.

    Attributes:
        detail: The reason as text.
        retry_in: Seconds until the next attempt.
        is_of_member: Whether it is one of the connections of a member of a fleet.
    """

    reason: DisconnectReason
    detail: str
    retry_in: float
    is_of_member: bool = False


@value_class
class OlderVersionUsed:
    """The broker accepts only an older version of MQTT.

    Attributes:
        version: The version in use.
    """

    version: str


@value_class
class PublishForbidden:
    """The broker closes the connection at some topics, and the bridge leaves them out.

    Attributes:
        topic_filter: A filter for the topics.
    """

    topic_filter: str


@value_class
class PublishRejected:
    """The broker rejected a message."""

    topic: str
    detail: str


@value_class
class SubscriptionRejected:
    """The broker rejected a subscription."""

    topic_filter: str


@value_class
class RestoreUncertain:
    """The bridge may have missed some of what a previous run published.

    Attributes:
        marker_topic: The topic on which the bridge publishes its marker.
        detail: The reason as text.
    """

    marker_topic: str
    detail: str


@value_class
class ConsumerStarted:
    """A birth message arrived: a consumer of discovery started, and the bridge republishes everything."""


@value_class
class TopicsDisturbed:
    """Another client cleared or overwrote topics of the bridge, which the bridge publishes again.

    Attributes:
        topics: Their number.
        example: One of them.
        is_cleared: Whether the example was cleared.
    """

    topics: int
    example: str
    is_cleared: bool


@value_class
class SameStations:
    """Another live bridge publishes stations that this one publishes as well.

    Attributes:
        client_id: Its MQTT client id; empty: unknown.
        base_topic: Its base topic.
        stations: Number of these stations.
    """

    client_id: str
    base_topic: str
    stations: int


@value_class
class OtherBridgeStopped:
    """A bridge with the same stations is offline; this bridge publishes again what the other one overwrote.

    Attributes:
        client_id: Its MQTT client id; empty: unknown.
        base_topic: Its base topic.
    """

    client_id: str
    base_topic: str


@value_class
class OfflineNotAcknowledged:
    """The broker did not acknowledge `offline` in time, and will publish the will instead."""


@value_class
class ClockChanged:
    """The clock of the machine was set. Times of day that were recorded before have to be corrected.

    Attributes:
        shift: The difference to add to them.
    """

    shift: timedelta


@value_class
class ReloadStarted:
    """The bridge starts to read its configuration again. `ConfigurationApplied` or `ConfigurationRejected` follows."""


@value_class
class ConfigurationApplied:
    """A configuration was read again and applied.

    Attributes:
        stations: Number of stations.
        added: Number of stations that were not configured before.
        removed: Number of stations that are no longer configured.
        changed: Number of other stations with other settings.
    """

    stations: int
    added: int = 0
    removed: int = 0
    changed: int = 0


@value_class
class ConfigurationRejected:
    """A changed configuration has errors; the bridge keeps the current one.

    Attributes:
        problems: One line per problem: the place, the key and the error.
    """

    problems: tuple[str, ...]


@value_class
class HistoryFailed:
    """The history cannot be written; records wait until it can.

    Attributes:
        detail: The database and the reason, without a password.
        set_aside: The new name of a damaged file, in place of which a new one is written; empty: none.
    """

    detail: str
    set_aside: str = ""


@value_class
class HistoryRestored:
    """The history is written again, with the records that waited."""


@value_class
class ShardBegun:
    """A shard runs in this process from now on.

    Attributes:
        shard: The number of the shard.
        stations: Number of its stations.
        previous: The member that ran it before; empty: none, as far as this member knows.
    """

    shard: int
    stations: int
    previous: str


@value_class
class ShardHandedOver:
    """A shard was handed over to another member.

    Attributes:
        shard: The number of the shard.
        stations: Number of its stations.
        successor: The other member; empty: none was alive, or the engine did not answer.
    """

    shard: int
    stations: int
    successor: str


@value_class
class ShardLost:
    """A shard was stopped, because another member holds it, or seems to.

    Attributes:
        shard: The number of the shard.
        stations: Number of its stations.
        holder: The other member; empty: not known.
    """

    shard: int
    stations: int
    holder: str


@value_class
class EngineUnavailable:
    """The engine of the fleet does not answer, or refuses this member; everything runs on.

    Attributes:
        detail: A sentence for people.
        is_refused: Whether it refused the member.
    """

    detail: str
    is_refused: bool


@value_class
class EngineAvailable:
    """The engine of the fleet answers.

    Attributes:
        after: Seconds since it answered before `EngineUnavailable`; 0: at the start.
    """

    after: float


@value_class
class FleetConflictChanged:
    """The members of the fleet cannot work together as usual, or can again.

    Attributes:
        detail: The conflict; empty: there is none any more.
    """

    detail: str


@value_class
class MetersStarted:
    """The meters of a station started, or another record of the previous run was added to them.

    Attributes:
        station: The station.
        state: Its state.
        unrecorded: Sessions of the previous run, and sessions that ended while the meters waited, that the history may
            lack, by plug uuid.
        at_zero: Number of meters that started at 0, because no record was found.
        counted: The meters that counted while they waited, by plug uuid: each as in the record of the previous run, or
            without one as it was after the first measurement, and now.
    """

    station: Station
    state: StationState
    unrecorded: Mapping[str, Sequence[Session]]
    at_zero: int
    counted: Mapping[str, tuple[Meter, Meter]] = field(default_factory=dict)


class Listener:
    """Receives events; by default, every method does nothing."""

    def poll_completed(self, event: PollCompleted) -> None:
        """See `PollCompleted`."""

    def state_aged(self, event: StateAged) -> None:
        """See `StateAged`."""

    def token_rejected(self, event: TokenRejected) -> None:
        """See `TokenRejected`."""

    def cloud_rejecting(self, event: CloudRejecting) -> None:
        """See `CloudRejecting`."""

    def cloud_answering(self, event: CloudAnswering) -> None:
        """See `CloudAnswering`."""

    def station_removed(self, event: StationRemoved) -> None:
        """See `StationRemoved`."""

    def broker_changed(self, event: BrokerChanged) -> None:
        """See `BrokerChanged`."""

    def broker_connected(self, event: BrokerConnected) -> None:
        """See `BrokerConnected`."""

    def broker_disconnected(self, event: BrokerDisconnected) -> None:
        """See `BrokerDisconnected`."""

    def older_version_used(self, event: OlderVersionUsed) -> None:
        """See `OlderVersionUsed`."""

    def publish_forbidden(self, event: PublishForbidden) -> None:
        """See `PublishForbidden`."""

    def publish_rejected(self, event: PublishRejected) -> None:
        """See `PublishRejected`."""

    def subscription_rejected(self, event: SubscriptionRejected) -> None:
        """See `SubscriptionRejected`."""

    def restore_uncertain(self, event: RestoreUncertain) -> None:
        """See `RestoreUncertain`."""

    def consumer_started(self, event: ConsumerStarted) -> None:
        """See `ConsumerStarted`."""

    def same_stations(self, event: SameStations) -> None:
        """See `SameStations`."""

    def other_bridge_stopped(self, event: OtherBridgeStopped) -> None:
        """See `OtherBridgeStopped`."""

    def topics_disturbed(self, event: TopicsDisturbed) -> None:
        """See `TopicsDisturbed`."""

    def offline_not_acknowledged(self, event: OfflineNotAcknowledged) -> None:
        """See `OfflineNotAcknowledged`."""

    def clock_changed(self, event: ClockChanged) -> None:
        """See `ClockChanged`."""

    def reload_started(self, event: ReloadStarted) -> None:
        """See `ReloadStarted`."""

    def configuration_applied(self, event: ConfigurationApplied) -> None:
        """See `ConfigurationApplied`."""

    def configuration_rejected(self, event: ConfigurationRejected) -> None:
        """See `ConfigurationRejected`."""

    def history_failed(self, event: HistoryFailed) -> None:
        """See `HistoryFailed`."""

    def history_restored(self, event: HistoryRestored) -> None:
        """See `HistoryRestored`."""

    def shard_begun(self, event: ShardBegun) -> None:
        """See `ShardBegun`."""

    def shard_handed_over(self, event: ShardHandedOver) -> None:
        """See `ShardHandedOver`."""

    def shard_lost(self, event: ShardLost) -> None:
        """See `ShardLost`."""

    def engine_unavailable(self, event: EngineUnavailable) -> None:
        """See `EngineUnavailable`."""

    def engine_available(self, event: EngineAvailable) -> None:
        """See `EngineAvailable`."""

    def fleet_conflict_changed(self, event: FleetConflictChanged) -> None:
        """See `FleetConflictChanged`."""

    def meters_started(self, event: MetersStarted) -> None:
        """See `MetersStarted`."""


class Listeners(Listener):
    """Passes each event to several listeners, in order.

    There are thousands of polls per second, so a listener without a method of its own is left out. A subclass handles
    those events itself for which it has a method.
    """

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        for name, default in vars(Listener).items():
            if not name.startswith("_") and getattr(type(self), name) is default:
                overriding = (listener for listener in listeners if getattr(type(listener), name) is not default)
                setattr(self, name, _pass_on(tuple(getattr(listener, name) for listener in overriding)))


def _pass_on(methods: tuple[Callable[[Any], None], ...]) -> Callable[[Any], None]:
    def call_all(event: Any) -> None:  # noqa: ANN401  # each method has its own event
        for method in methods:
            method(event)

    return call_all
