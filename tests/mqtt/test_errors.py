"""Errors of the broker connection: which reason they become."""

import socket
import ssl

import pytest

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected, connect_error


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


def test_connect_error_names_a_long_host() -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = "Hostname mismatch, certificate is not valid for 'broker.site-north.example.com'."
    assert "'broker.site-north.example.com';" in connect_error(error).detail
