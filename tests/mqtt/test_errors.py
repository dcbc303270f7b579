"""Errors of the broker connection: which reason they become, and which sockets they leave behind."""

import socket
import ssl

import pytest

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected, close_sockets_of, connect_error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(111, "Connection refused"), (DisconnectReason.UNREACHABLE, "Connection refused")),
        (OSError(), (DisconnectReason.UNREACHABLE, "OSError")),
        (TimeoutError(), (DisconnectReason.UNREACHABLE, "the broker did not answer in time")),
        (
            socket.gaierror(-2, "Name or service not known"),
            (DisconnectReason.UNREACHABLE, "name not resolved: Name or service not known"),
        ),
        (UnicodeError(), (DisconnectReason.UNREACHABLE, "name not resolved: no such host")),
        (ssl.SSLError(1, "bad"), (DisconnectReason.TLS, "('bad',)")),
        (ValueError("Invalid host."), (DisconnectReason.REFUSED, "Invalid host.")),
    ],
)
def test_connect_error_has_reason_and_detail(error: Exception, expected: tuple[DisconnectReason, str]) -> None:
    found = connect_error(error)
    assert found.reason is expected[0]
    if not isinstance(error, ssl.SSLError):  # OpenSSL words it
        assert found == Disconnected(*expected)


def test_close_sockets_of_closes_sockets_of_failed_calls() -> None:
    made = []

    def connect() -> None:
        connection = socket.socket()
        made.append(connection)
        raise OSError("no route")

    with pytest.raises(OSError, match="no route") as caught:
        connect()
    close_sockets_of(caught.value)
    assert made[0].fileno() == -1


def test_close_sockets_of_skips_a_half_made_socket() -> None:
    """The system may refuse a socket: no IPv6, no file descriptor left. Then it has no attributes to close."""

    def connect() -> None:
        half_made = socket.socket.__new__(socket.socket)
        raise OSError(half_made.__class__.__name__)

    with pytest.raises(OSError, match="socket") as caught:
        connect()
    close_sockets_of(caught.value)
