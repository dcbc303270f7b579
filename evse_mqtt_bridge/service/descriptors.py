"""Divides the file descriptors of the process among its parts, so that none takes those that another one needs.

Every connection needs one. Without a bound, requests and clients of the status page compete for the last ones, and
a request or a connection to the broker that gets none looks like a network failure.
"""

import contextlib
import resource
from dataclasses import dataclass
from typing import Self

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.web.limits import ConnectionLimits

__all__ = ["Budget", "descriptor_limit", "raise_descriptor_limit"]

_WANTED = 4096
"""Enough for every configuration. The limit is not raised further, because a process never needs more."""

_RESERVE = 32
"""Descriptors for everything else: about 14 while the bridge runs, and files, name resolution and a reconnect."""

_PAGE_SHARE = 3
"""The status page gets at most one out of this many of the other descriptors."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The division of a limit.

    Attributes:
        limit: Maximum number of open descriptors of the process.
        requests: Maximum number of concurrent requests to the cloud.
        page: Limits of the status page.
    """

    limit: int
    requests: int
    page: ConnectionLimits

    @classmethod
    def of(cls, limit: int) -> Self:
        """Return the division of `limit`; every part gets at least one descriptor."""
        spare = max(0, limit - _RESERVE)
        full = ConnectionLimits()
        page = max(2, min(spare // _PAGE_SHARE, full.connections + full.backlog))
        connections = max(1, min(page * 2 // 3, full.connections))
        return cls(limit, max(1, spare - page), ConnectionLimits(connections, page - connections))

    def apply(self, config: Config) -> Config:
        """Return the configuration with no more concurrent requests than descriptors."""
        if config.cloud.max_concurrency <= self.requests:
            return config
        cloud = config.cloud.model_copy(update={"max_concurrency": self.requests})
        return config.model_copy(update={"cloud": cloud})

    def is_short(self, config: Config) -> bool:
        """Return whether a part gets fewer descriptors than `config` asks for."""
        is_page_short = config.http.enabled and self.page != ConnectionLimits()
        return is_page_short or config.cloud.max_concurrency > self.requests


def raise_descriptor_limit() -> None:
    """Raise the soft limit of this process up to the hard limit, which services often have much higher."""
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptor_limit() -> int:
    """Return how many descriptors this process may open; `_WANTED` if there is no limit or it is not known."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:  # as above
        return _WANTED
    return _WANTED if soft == resource.RLIM_INFINITY else soft
