"""Errors of listening on an address."""

import errno
import socket

import pytest

from evse_mqtt_bridge.support.listening import listen_error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EADDRINUSE, "error while attempting to bind"), "another program uses this port"),
        (OSError(errno.EADDRNOTAVAIL, "error while"), "this machine does not have this address"),
        (OSError("could not bind on any address out of [('192.0.2.1', 1)]"), "this machine does not have this address"),
        (OSError(errno.EACCES, "error while"), "this user is not allowed to listen on this port"),
        (OSError(errno.ENOBUFS, "error while"), "No buffer space available"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the host name cannot be resolved"),
        (UnicodeError("label too long"), "the host name cannot be resolved"),
    ],
)
def test_listen_error_names_the_cause(error: OSError | UnicodeError, text: str) -> None:
    assert listen_error(error) == text
