"""The tuple of listeners that observe the running bridge. A new observer is one more field."""

from typing import NamedTuple, Self

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.observability.broker_status import BrokerStatus
from evse_mqtt_bridge.observability.counters import Counters
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.poll_status import PollStatus
from evse_mqtt_bridge.observability.reload_status import ReloadStatus
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.cloud_reach import CloudReach
from evse_mqtt_bridge.service.recorder import Recorder
from evse_mqtt_bridge.service.rotation import Rotation

__all__ = ["Observers"]


class Observers(NamedTuple):
    """Every listener, in the order in which they receive an event."""

    event_log: EventLog
    counters: Counters
    history: History
    poll_status: PollStatus
    broker_status: BrokerStatus
    reload_status: ReloadStatus
    rotation: Rotation
    recorder: Recorder
    cloud_reach: CloudReach

    @classmethod
    def create(cls, log: Logger, clock: Clock, mqtt: Mqtt) -> Self:
        """Return observers that have not received any event yet."""
        return cls(
            event_log=EventLog(log, clock.monotonic, mqtt.address, mqtt.client_id),
            counters=Counters(),
            history=History(),
            poll_status=PollStatus(clock.monotonic),
            broker_status=BrokerStatus(clock.utc),
            reload_status=ReloadStatus(clock.utc),
            rotation=Rotation(),
            recorder=Recorder(),
            cloud_reach=CloudReach(clock.monotonic),
        )
