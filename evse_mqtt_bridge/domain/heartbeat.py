"""Determines when unchanged values of a plug are published again.

Each station has its own phase, so that the heartbeats spread out even if many stations were published at the same time.
The plugs of a station share its phase, so that the station is evaluated only once per heartbeat.
"""

import math
from collections.abc import Iterable
from zlib import crc32

__all__ = ["heartbeat_phase", "next_heartbeat"]


def heartbeat_phase(plug_uuids: Iterable[str]) -> float:
    """Return the phase of a station: how much earlier than the multiples of the heartbeat it is published, from 0 to 1.

    It is a fraction of the heartbeat, and depends on the first plug only, so that it stays the same if one is added.

    Args:
        plug_uuids: The plugs of the station, in the order in which they were added.
    """
    return crc32(next(iter(plug_uuids), "").encode()) / 2**32


def next_heartbeat(phase: float, published_at: float, heartbeat: float) -> float:
    """Return when a plug is published again at the latest, in monotonic seconds.

    Args:
        phase: The phase of its station, see `heartbeat_phase`.
        published_at: When the plug was published last, in monotonic seconds.
        heartbeat: Maximum number of seconds between two publications; 0: the plug is published with every poll.
    """
    if not heartbeat:
        return published_at
    return (math.floor(published_at / heartbeat + phase) + 1 - phase) * heartbeat
