"""What a connection begins with: the settings, the TLS context, the will, and the stream to the broker."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.mqtt.transport import SocketTransport, Transport, open_socket
from evse_mqtt_bridge.mqtt.versions import MqttVersion
from evse_mqtt_bridge.publishing.manifest_payloads import ENTRY_LIMIT
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.tls import client_context

__all__ = [
    "CONNECT_TIMEOUT",
    "PERSISTENCE",
    "ConnectOptions",
    "Handlers",
    "Persistence",
    "open_transport",
    "tls_context",
]

CONNECT_TIMEOUT = 10.0
"""Seconds for name resolution, TCP, TLS and the broker's CONNACK, each."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """The callbacks of a connection, called on the event loop.

    Attributes:
        received: Called for each message: topic, payload, whether it was retained.
        rejected: Called for each message that the broker rejected: topic and reason.
        room_available: Called when messages were acknowledged, so that there is room for others.
    """

    received: Callable[[str, bytes, bool], None]
    rejected: Callable[[str, str], None]
    room_available: Callable[[], None]


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return a context that verifies the broker, and presents a client certificate if one is configured.

    Raises:
        ConfigError: A file cannot be read, is not PEM, or the key does not belong to the certificate.
    """
    return None if tls is None else client_context("mqtt.tls", tls.ca_file, tls.cert_file, tls.key_file)


@dataclass(frozen=True, slots=True)
class Persistence:
    """What an MQTT 5 broker keeps after the connection. Other brokers publish the will at once, and keep nothing.

    Attributes:
        will_delay: Seconds for which the broker delays the will, so that a quick reconnect shows no `offline`.
        session_expiry: Seconds for which it keeps the session; the end of the session would cut the delay short.
        continues: Whether the connection continues the session. Only then a client that takes over from one that is
            still connected causes no will, whatever the broker.
    """

    will_delay: int = 5
    session_expiry: int = 30
    continues: bool = False


PERSISTENCE = Persistence()
"""That of a bridge without shards."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a connection begins with.

    Attributes:
        settings: The settings of the broker.
        tls: The TLS context; `None`: no TLS.
        will: The will; `None`: none.
        packet_limit: Maximum size of a packet that the broker may send, in bytes.
        version: The MQTT version.
        persistence: What the broker keeps after the connection.
    """

    settings: Mqtt
    tls: ssl.SSLContext | None = None
    will: Message | None = None
    packet_limit: int = ENTRY_LIMIT
    version: MqttVersion = "5"
    persistence: Persistence = PERSISTENCE


def open_transport(settings: Mqtt, tls: ssl.SSLContext | None) -> Transport:
    """Connect, and return the stream for MQTT. The call blocks.

    Raises:
        OSError: The broker cannot be reached, or TLS fails.
        ValueError: The broker does not speak WebSocket on this path.
    """
    connected = open_socket(settings, tls, CONNECT_TIMEOUT)
    if settings.transport == "tcp":
        return SocketTransport(connected)
    from evse_mqtt_bridge.mqtt.websocket import open_websocket  # noqa: PLC0415  # few bridges need the library

    return open_websocket(connected, settings, CONNECT_TIMEOUT)
