"""Determines when values of a plug that do not change are published again.

The heartbeats of the stations have different phases, so that they spread out, however many stations were published at
the same time. The plugs of a station have the same phase: the station is then evaluated once per heartbeat.
"""

import math
from collections.abc import Iterable
from zlib import crc32

__all__ = ["heartbeat_phase", "next_heartbeat"]


def heartbeat_phase(plugs: Iterable[str]) -> float:
    """Return the phase of the heartbeats of a station, as a part of the heartbeat: that of its first plug.

    Args:
        plugs: The uuids of its plugs, in the order in which they were added.
    """
    return crc32(next(iter(plugs), "").encode()) / 2**32


def next_heartbeat(phase: float, published_at: float, heartbeat: float) -> float:
    """Return when a plug is published again at the latest, in monotonic seconds.

    Args:
        phase: That of the station, see `heartbeat_phase`.
        published_at: When the plug was published last, in monotonic seconds.
        heartbeat: Maximum seconds between two publications; 0: it is published with every poll.
    """
    if not heartbeat:
        return published_at
    return (math.floor(published_at / heartbeat + phase) + 1 - phase) * heartbeat
