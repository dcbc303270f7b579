"""The limits of a connection, from the settings and the broker's CONNACK."""

from dataclasses import dataclass

from evse_mqtt_bridge.mqtt.inbound import Connack
from evse_mqtt_bridge.publishing.message import Message

__all__ = ["WINDOW", "WINDOW_QOS_0", "Limits"]

WINDOW = 20
"""Maximum number of unacknowledged messages at QoS 1 and 2, if the broker does not accept fewer."""

WINDOW_QOS_0 = 500
"""The same at QoS 0, where only the socket is a limit: as many as one iteration of the loop writes in about 10 ms."""

_OVERHEAD = 32
"""Bytes of a PUBLISH beside topic and payload: header, lengths, packet identifier and content type."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the connection may do.

    Attributes:
        qos: The quality of service, 0 to 2.
        window: Maximum number of unacknowledged messages.
        packet_size: Maximum size of a packet, in bytes; `None`: no limit.
    """

    qos: int
    window: int
    packet_size: int | None

    @classmethod
    def of(cls, connack: Connack, qos: int) -> "Limits":
        """Return the limits of an accepted connection; `qos` is the configured quality of service."""
        qos = min(qos, connack.maximum_qos)
        window = min(WINDOW, connack.receive_maximum) if qos else WINDOW_QOS_0
        return cls(qos, window, connack.maximum_packet_size)

    def excess(self, message: Message) -> str:
        """Return why a message is too large for the broker; empty if it is not."""
        if self.packet_size is None:
            return ""
        size = len(message.payload) + len(message.topic.encode()) + _OVERHEAD
        return f"{size} bytes exceed the broker's limit of {self.packet_size}" if size > self.packet_size else ""
