"""Determines when values of a plug that do not change are published again.

The heartbeats of the plugs have different phases, so that they spread out, however many plugs were published at the
same time.
"""

import math
from zlib import crc32

__all__ = ["next_heartbeat"]


def next_heartbeat(uuid: str, published_at: float, heartbeat: float) -> float:
    """Return when a plug is published again at the latest, in monotonic seconds.

    Args:
        uuid: The uuid of the plug.
        published_at: When it was published last, in monotonic seconds.
        heartbeat: Maximum seconds between two publications; 0: it is published with every poll.
    """
    if not heartbeat:
        return published_at
    phase = crc32(uuid.encode()) / 2**32
    return (math.floor(published_at / heartbeat + phase) + 1 - phase) * heartbeat
