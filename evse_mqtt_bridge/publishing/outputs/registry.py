"""Lists every kind of output location, to read manifest entries."""

from collections.abc import Mapping

from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["MANIFEST_KEYS", "locations_from_manifest"]

MANIFEST_KEYS = ("discovery",)
"""The keys of a manifest entry that hold a location, or `null`."""


def locations_from_manifest(topics: Topics, content: Mapping[str, object]) -> tuple[Location, ...]:
    """Return the locations that an entry below the base topic of `topics` records."""
    discovery = DiscoveryLocation.from_manifest(content)
    return (PlainLocation(topics), *((discovery,) if discovery else ()))
