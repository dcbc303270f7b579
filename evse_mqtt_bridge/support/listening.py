"""Explains why a server cannot listen on an address."""

import errno
import os
import socket

__all__ = ["listen_error"]


def listen_error(error: OSError | UnicodeError) -> str:
    """Return why a server cannot listen, without the address, which asyncio adds to its own text.

    Args:
        error: What `create_server` raised; a UnicodeError if the host is not a valid name.
    """
    if isinstance(error, UnicodeError | socket.gaierror):
        return "the host name cannot be resolved"
    match error.errno:
        case errno.EADDRINUSE:
            return "another program uses this port"
        case errno.EADDRNOTAVAIL | None:  # since Python 3.13, the error of asyncio has no errno in this case
            return "this machine does not have this address"
        case errno.EACCES:
            return "this user is not allowed to listen on this port"
        case number:
            return os.strerror(number)
