"""The part of the manifest that a shard need not read, because its member has read it on another connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evse_mqtt_bridge.publishing.topics import covers

__all__ = ["NOTHING_KNOWN", "KnownManifest"]


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """Retained messages that are known without a subscription.

    Attributes:
        filters: The subscriptions that would yield them, and nothing else that matters to the shard.
        retained: The payloads by topic.
    """

    filters: frozenset[str] = frozenset()
    retained: Mapping[str, bytes] = field(default_factory=dict)

    def covered_by(self, topic_filter: str) -> Mapping[str, bytes]:
        """Return the messages that a subscription would yield."""
        return {topic: payload for topic, payload in self.retained.items() if covers(topic_filter, topic)}


NOTHING_KNOWN = KnownManifest()
