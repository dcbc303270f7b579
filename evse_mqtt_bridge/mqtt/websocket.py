"""MQTT over WebSocket (MQTT 5, section 6): the handshake, and a transport that packs MQTT into binary messages.

The library websockets does the protocol without I/O.
"""

import socket
import time
from collections import deque
from http import HTTPStatus

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.mqtt.transport import SocketTransport, Transport

__all__ = ["WebSocketTransport", "open_websocket"]

_CHUNK = 16 * 1024

_LARGEST_MESSAGE = 256 * 1024 * 1024
"""Maximum size of a binary message, in bytes, that of an MQTT packet: a message is buffered until it is complete."""

_DATA = frozenset({Opcode.BINARY, Opcode.CONT})


def open_websocket(connected: socket.socket, settings: Mqtt, timeout: float) -> Transport:
    """Return a transport over a connected socket, once the server has accepted the WebSocket. The call blocks.

    Args:
        connected: The socket. It is closed if the handshake fails.
        settings: Path and headers.
        timeout: Maximum duration of the handshake, in seconds.

    Raises:
        OSError: The connection is broken, or the server is not available.
        ValueError: The server does not offer MQTT over WebSocket there.
    """
    try:
        protocol = ClientProtocol(
            parse_uri(f"{'wss' if settings.tls else 'ws'}://{settings.address}{settings.websocket_path}"),
            subprotocols=[Subprotocol("mqtt")],
            max_size=_LARGEST_MESSAGE,
        )
        request = protocol.connect()
        for name, value in settings.websocket_headers.items():
            if name in request.headers:
                del request.headers[name]
            request.headers[name] = value.get_secret_value()
        protocol.send_request(request)
        _complete_handshake(connected, protocol, time.monotonic() + timeout)
        return WebSocketTransport(SocketTransport(connected), protocol)
    except BaseException:
        connected.close()
        raise


def _complete_handshake(connected: socket.socket, protocol: ClientProtocol, until: float) -> None:
    for data in protocol.data_to_send():
        connected.sendall(data)
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        connected.settimeout(max(0.001, until - time.monotonic()))
        if data := connected.recv(_CHUNK):
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
    match protocol.handshake_exc:
        case None:
            return
        case InvalidStatus() as error if error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ConnectionRefusedError(0, f"the server answers with HTTP {error.response.status_code}")
        case InvalidStatus() as error:
            message = f"the server refuses the WebSocket with HTTP {error.response.status_code}"
            raise ValueError(f"{message}: check mqtt.websocket_path and mqtt.websocket_headers")
        case InvalidMessage() | EOFError():
            raise ValueError("the server does not answer as a WebSocket server: check mqtt.port and mqtt.transport")
        case InvalidHandshake() as error:
            raise ValueError(f"the WebSocket handshake failed: {error}")
        case error:
            raise ConnectionResetError(0, str(error))


class WebSocketTransport:
    """A transport that sends MQTT in binary messages, and receives it from them, however it is divided."""

    def __init__(self, stream: Transport, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._unsent: deque[bytes] = deque()
        self._is_closed = False

    def fileno(self) -> int:
        """See `Transport`."""
        return self._stream.fileno()

    def receive(self, limit: int) -> bytes:
        """See `Transport`."""
        while not self._is_closed:
            data = self._received()
            if data:
                return data
            arrived = self._stream.receive(limit)
            if arrived:
                self._protocol.receive_data(arrived)
            else:
                self._protocol.receive_eof()
        return b""

    def _received(self) -> bytes:
        """Return the content of the messages that have arrived; answer pings and the end of the WebSocket."""
        frames = [frame for frame in self._protocol.events_received() if isinstance(frame, Frame)]
        self._unsent += [data for data in self._protocol.data_to_send() if data]
        self.has_unsent()
        self._is_closed = self._protocol.state is not State.OPEN
        return b"".join(bytes(frame.data) for frame in frames if frame.opcode in _DATA)

    def send(self, data: bytes | bytearray) -> int:
        """See `Transport`."""
        if self.has_unsent():
            raise BlockingIOError
        if self._protocol.state is not State.OPEN:
            raise BrokenPipeError
        self._protocol.send_binary(bytes(data))
        self._unsent += self._protocol.data_to_send()
        self.has_unsent()
        return len(data)

    def has_pending(self) -> bool:
        """See `Transport`."""
        return self._stream.has_pending()

    def has_unsent(self) -> bool:
        """See `Transport`."""
        while self._unsent:
            data = self._unsent.popleft()
            try:
                sent = self._stream.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self._unsent.appendleft(data[sent:])
                return True
        return False

    def close(self) -> None:
        """See `Transport`."""
        self._stream.close()
