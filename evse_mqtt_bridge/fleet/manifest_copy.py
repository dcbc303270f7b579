"""A copy of the manifest on the broker, which the connection of a member receives and keeps up to date.

A member reads the manifest once, and not once for each shard that it begins: every shard would receive the entries of
all stations, and a take-over of many shards would take as long as that.
"""

import re
from collections.abc import Iterable, Mapping

from evse_mqtt_bridge.domain.shards import shard_of

__all__ = ["ManifestCopy"]

_UUID = re.compile(rb'"uuid":"([^"\\]+)"')


class ManifestCopy:
    """The retained `info` of stations and shards, by shard.

    Args:
        shards: The number of shards.
        size_limit: Maximum size of all entries, in bytes; anybody who may publish below the base topic can add some.

    Attributes:
        is_complete: Whether no entry exceeded the limit.
    """

    def __init__(self, shards: int, size_limit: int = 64 * 1024 * 1024) -> None:
        self._shards = shards
        self._size_limit = size_limit
        self._size = 0
        self.is_complete = True
        self._payloads: dict[str, bytes] = {}
        self._topics: dict[int, set[str]] = {}
        """The topics of the entries that name a station of a shard, also as a previous one."""

    def received(self, topic: str, payload: bytes) -> None:
        """Store a message; an empty one removes the topic."""
        previous = self._payloads.pop(topic, b"")
        self._size -= len(previous)
        for shard in self._shards_in(previous):
            self._topics[shard].discard(topic)
        if self._size + len(payload) > self._size_limit:
            self.is_complete = False
        elif payload:
            self._payloads[topic] = payload
            self._size += len(payload)
            for shard in self._shards_in(payload):
                self._topics.setdefault(shard, set()).add(topic)

    def clear(self) -> None:
        """Forget everything, because the connection ended."""
        self._size, self.is_complete = 0, True
        self._payloads.clear()
        self._topics.clear()

    def of_shard(self, shard: int, topics: Iterable[str]) -> Mapping[str, bytes]:
        """Return the entries that a shard has to know, by topic.

        Args:
            shard: The shard.
            topics: The topics on which the shard publishes entries now.
        """
        wanted = {*self._topics.get(shard, ()), *topics}
        return {topic: self._payloads[topic] for topic in sorted(wanted) if topic in self._payloads}

    def _shards_in(self, payload: bytes) -> set[int]:
        return {shard_of(uuid.decode(errors="replace"), self._shards) for uuid in _UUID.findall(payload)}
