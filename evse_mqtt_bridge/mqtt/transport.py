"""Opens the byte stream to the broker: TCP, with TLS if it is configured."""

import socket
import ssl
from typing import Protocol

from evse_mqtt_bridge.config.schema import Mqtt

__all__ = ["Transport", "open_transport"]


class Transport(Protocol):
    """A byte stream that does not block; its methods raise OSError when the connection is broken."""

    def fileno(self) -> int:
        """Return the file descriptor of the socket, for the event loop; -1 if it is closed."""

    def receive(self, limit: int) -> bytes:
        """Return at most `limit` bytes; none if the peer ended the stream. Raises BlockingIOError if there are none."""

    def send(self, data: bytes | bytearray) -> int:
        """Send some of the bytes and return how many. Raises BlockingIOError if there is no room."""

    def has_pending(self) -> bool:
        """Return whether bytes have arrived that the event loop does not detect."""

    def close(self) -> None:
        """Close the socket."""


class _SocketTransport:
    """A transport over a socket, with or without TLS."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.settimeout(0)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, limit: int) -> bytes:
        try:
            return self._socket.recv(limit)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def has_pending(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def close(self) -> None:
        self._socket.close()


def open_transport(settings: Mqtt, tls: ssl.SSLContext | None, timeout: float) -> Transport:
    """Connect, and return the stream. The call blocks, so it belongs in a thread.

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
        if tls is not None:
            connected = tls.wrap_socket(connected, server_hostname=settings.host)
        return _SocketTransport(connected)
    except BaseException:
        connected.close()
        raise
