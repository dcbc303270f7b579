"""The paho client of one connection: reads what inbound.py passes on, and writes into the buffer of outbound.py."""

from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions
from evse_mqtt_bridge.mqtt.inbound import Inbound
from evse_mqtt_bridge.mqtt.transport import Transport

__all__ = ["PahoClient"]


class PahoClient(Client):
    """A client for one connection.

    It overrides how paho connects, which is the only private part of paho that the bridge depends on.
    """

    def __init__(self, options: ConnectOptions) -> None:
        settings, will, is_v5 = options.settings, options.will, options.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            protocol=MQTTv5 if is_v5 else MQTTv311,
            clean_session=None if is_v5 else True,
            reconnect_on_failure=False,
        )
        self._settings = settings
        self._persistence = options.persistence
        self._is_v5 = is_v5
        self._filtered_socket: _FilteredSocket | None = None
        if settings.username:
            password = settings.password
            self.username_pw_set(settings.username, password.get_secret_value() if password else None)
        if will is not None:
            delayed = _properties(PacketTypes.WILLMESSAGE)
            delayed.WillDelayInterval = options.persistence.will_delay
            self.will_set(
                will.topic,
                will.payload,
                qos=min(1, settings.qos),
                retain=True,
                properties=delayed if is_v5 else None,
            )

    def send_connect(self, transport: Transport, inbound: Inbound, write: Callable[[bytes], None]) -> None:
        """Send CONNECT.

        Args:
            transport: The connected transport.
            inbound: Has the packets to read.
            write: Sends a packet.
        """
        properties = None
        if self._is_v5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self._persistence.session_expiry
            properties.MaximumPacketSize = inbound.limit
        self._filtered_socket = _FilteredSocket(transport, inbound.for_paho, write)
        self.connect(
            self._settings.host,
            self._settings.effective_port,
            keepalive=self._settings.keepalive,
            clean_start=not self._persistence.continues if self._is_v5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )

    def _create_socket(self) -> Any:  # noqa: ANN401  # paho does not export its protocol of sockets
        if self._filtered_socket is None:
            raise RuntimeError("no transport")
        return self._filtered_socket


class _FilteredSocket:
    """The socket that paho sees: it reads from a buffer that the connection fills, and takes every packet whole."""

    def __init__(self, transport: Transport, for_paho: bytearray, write: Callable[[bytes], None]) -> None:
        self._transport = transport
        self._for_paho = for_paho
        self._write = write

    def recv(self, limit: int) -> bytes:
        if not self._for_paho:
            raise BlockingIOError
        data = bytes(self._for_paho[:limit])
        del self._for_paho[:limit]
        return data

    def send(self, data: bytes | bytearray) -> int:
        self._write(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return self._transport.fileno()

    def close(self) -> None:
        self._transport.close()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # as sockets have it
        """Do nothing: the transport never blocks."""


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves its constructor untyped
