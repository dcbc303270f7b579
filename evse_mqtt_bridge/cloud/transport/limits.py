"""The limits of both transports."""

__all__ = ["BODY_LIMIT", "ERROR_BODY_LIMIT", "KEEPALIVE", "RECEIVE_BUFFER"]

BODY_LIMIT = 1024 * 1024
"""Largest accepted body of a response, in bytes, before and after decoding. Real ones have about 200 per plug."""

ERROR_BODY_LIMIT = 16 * 1024
"""Largest body of an error response that is read to keep its connection open, in bytes."""

KEEPALIVE = 90
"""Seconds an idle connection stays open; longer than the usual polling interval, to save a handshake per poll."""

RECEIVE_BUFFER = 32 * 1024
"""Receive buffer of a connection's socket, in bytes: ample for a response, and small enough that a server which floods
one connection does not starve the others."""
