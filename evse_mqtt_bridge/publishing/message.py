"""The MQTT message that every output yields."""

from collections.abc import Iterable, Iterator

from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["JSON", "Message", "clear"]

JSON = "application/json"
"""Content type of JSON payloads. Plain values have none, so that Node-RED parses them (MQTT 5, section 3.3.2.3.9)."""


@value_class
class Message:
    """One message to publish; an empty retained payload clears the topic.

    Attributes:
        content_type: Sent with MQTT 5 only; empty: none.
        retain: Whether the broker keeps the message for later subscribers.
        qos: 0 to 2; `None`: the configured quality of service.
    """

    topic: str
    payload: bytes
    content_type: str = ""
    retain: bool = True
    qos: int | None = None


def clear(topics: Iterable[str]) -> Iterator[Message]:
    """Yield the messages that clear these retained topics."""
    return (Message(topic, b"") for topic in topics)
