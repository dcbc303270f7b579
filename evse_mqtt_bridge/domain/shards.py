"""Divides the stations into shards, by a hash of their uuids, and describes who holds a shard."""

import re
import zlib
from dataclasses import dataclass

__all__ = ["ALL", "MOST_SHARDS", "Claim", "Share", "parse_share", "shard_of"]

MOST_SHARDS = 64
"""Maximum number of shards."""

_PART = re.compile(r"(\d{1,2})\s*/\s*(\d{1,2})")
_RANGE = re.compile(r"(\d{1,2})(?:\s*-\s*(\d{1,2}))?")


def shard_of(uuid: str, shards: int) -> int:
    """Return the shard of a station, 0 to `shards` - 1."""
    return zlib.crc32(uuid.encode()) % shards


@dataclass(frozen=True, slots=True)
class Share:
    """One shard of a bridge, with the stations whose uuids its number follows from.

    Attributes:
        number: The number of the shard, 0 to `shards` - 1.
        shards: The number of all shards, 1 to 64; 0: the bridge is no fleet, and its only share has every station.
    """

    number: int = 0
    shards: int = 0

    def has(self, uuid: str) -> bool:
        """Return whether a station belongs to the shard."""
        return self.shards <= 1 or shard_of(uuid, self.shards) == self.number


ALL = Share()
"""The only share of a bridge without a fleet."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a shard, as the `info` of the shard records it.

    Attributes:
        shard: The number of the shard.
        member: The name of the member that holds it.
        number: Grows with each change of the holder; 0: the shares are static.
        engine: The id of the engine that assigned it; empty: the shares are static.
    """

    shard: int
    member: str
    number: int = 0
    engine: str = ""


def parse_share(text: str, shards: int) -> frozenset[int]:
    """Return the shards of a text such as "0-3, 8", or of "1/4", the second of four equal parts.

    Raises:
        ValueError: The text is malformed, names a shard that does not exist, or a part without any shard.
    """
    if match := _PART.fullmatch(text.strip()):
        part, parts = int(match[1]), int(match[2])
        if part >= min(parts, shards):
            raise ValueError(f"{text.strip()} has no shard: {shards} shards in {parts} parts, counted from 0")
        return frozenset(range(part, shards, parts))
    found: set[int] = set()
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise ValueError('must be shards such as "0-7" or "0, 2, 4", or a part such as "0/2"')
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ValueError(f"{first}-{last} is not an ascending range")
        if last >= shards:
            raise ValueError(f"has shard {last}, but the last one is {shards - 1}: fleet.shards is {shards}")
        found.update(range(first, last + 1))
    return frozenset(found)
