"""The limits of the web server's connections; they can be used without importing the server."""

from dataclasses import dataclass

__all__ = ["ConnectionLimits"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many file descriptors the server may use.

    Attributes:
        connections: Maximum number of open connections.
        backlog: Maximum number of connections that are accepted at once, above `connections`.
    """

    connections: int = 100
    backlog: int = 100

    @property
    def streams(self) -> int:
        """Maximum number of event streams, and of concurrent reads of the snapshot: a fifth of the connections."""
        return max(1, self.connections // 5)
