"""Lists every kind of output location, to read manifest entries."""

from collections.abc import Iterable, Mapping

from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["MANIFEST_KEYS", "locations_from_manifest"]

MANIFEST_KEYS = ("discovery",)
"""The keys of a manifest entry that hold a location, or `null`."""


def locations_from_manifest(
    topics: Topics, content: Mapping[str, object], uuids: Iterable[str] = ()
) -> tuple[Location, ...]:
    """Return the locations that an entry below the base topic of `topics` records.

    Args:
        topics: The base topic.
        content: The entry.
        uuids: The uuids of its station and plugs.
    """
    discovery = DiscoveryLocation.from_manifest(content, uuids)
    return (PlainLocation(topics), *((discovery,) if discovery else ()))
