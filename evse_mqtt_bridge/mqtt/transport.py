"""The byte stream to the broker: TCP, with TLS if it is configured; websocket.py puts a WebSocket on top of it."""

import socket
import ssl
from typing import Protocol

from evse_mqtt_bridge.config.schema import Mqtt

__all__ = ["SocketTransport", "Transport", "open_socket"]


class Transport(Protocol):
    """A byte stream that does not block; its methods raise OSError when the connection is broken."""

    def fileno(self) -> int:
        """Return the file descriptor of the socket, for the event loop; -1 if it is closed."""

    def receive(self, limit: int) -> bytes:
        """Return about `limit` bytes; none if the peer ended the stream. Raises BlockingIOError if there are none."""

    def send(self, data: bytes | bytearray) -> int:
        """Accept some of the bytes and return how many. Raises BlockingIOError if there is no room."""

    def has_pending(self) -> bool:
        """Return whether bytes have arrived that the event loop does not detect."""

    def has_unsent(self) -> bool:
        """Return whether accepted bytes are not yet sent, after another attempt to send them."""

    def close(self) -> None:
        """Close the socket."""


class SocketTransport:
    """A transport over a socket, with or without TLS."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self._socket.settimeout(0)

    def fileno(self) -> int:
        """See `Transport`."""
        return self._socket.fileno()

    def receive(self, limit: int) -> bytes:
        """See `Transport`."""
        try:
            return self._socket.recv(limit)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def send(self, data: bytes | bytearray) -> int:
        """See `Transport`."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def has_pending(self) -> bool:
        """See `Transport`."""
        return self._tls is not None and self._tls.pending() > 0

    def has_unsent(self) -> bool:
        """See `Transport`."""
        return False

    def close(self) -> None:
        """See `Transport`."""
        self._socket.close()


def open_socket(settings: Mqtt, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    """Return a socket that is connected, with TLS if there is a context. The call blocks, so it belongs in a thread.

    Args:
        settings: The address of the broker.
        tls: The TLS context; `None`: no TLS.
        timeout: Maximum time without progress, in seconds.

    Raises:
        OSError: The broker cannot be reached, or the TLS handshake failed (ssl.SSLError).
        UnicodeError: The host name cannot be encoded.
    """
    connected = socket.create_connection((settings.host, settings.effective_port), timeout)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return connected
        server_name = settings.tls.server_name if settings.tls else ""
        return tls.wrap_socket(connected, server_hostname=server_name or settings.host)
    except BaseException:
        connected.close()
        raise
