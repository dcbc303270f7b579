"""Changes between the entity form and the device form; entities, ids and history are kept, without a warning.

For any number of devices at once, in either direction, with a pause after each of the steps 1 to 3:

1. `unload(old topics)`: Home Assistant unloads the entities and keeps their registry entries.
2. `placeholder(old topics)`: for topics of the device form only.
3. An empty payload on each of the old topics.
4. The messages of the other form.

The manifest must record the new form between steps 3 and 4: repeating steps 1 to 3 before step 4 has no effect, but
after step 4 it makes Home Assistant warn of a conflict for each entity.

The pause gives Home Assistant time to unload; one second is ample. With 2,401 entities on two shared cores, both
directions worked without a warning even without a pause. If the message of a device arrives while one of its
components is still unloading, Home Assistant drops the rest of the message; sending it again, unchanged, repairs that.

Home Assistant's documentation clears the old topics last. That works too, but every cleared topic then counts as a
conflicting message for entities that are loaded from another topic: one warning for each entity.
"""

from collections.abc import Iterable

from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import ORIGIN
from evse_mqtt_bridge.publishing.payloads import json_payload

__all__ = ["is_migration", "placeholder", "unload"]

_UNLOAD = b'{"migrate_discovery":true}'
_PLACEHOLDER = b'"components":{"migration":{"platform":"tag",'


def unload(topics: Iterable[str]) -> tuple[Message, ...]:
    """Return the messages of step 1, which unload the entities of both forms, and keep their registry entries."""
    return tuple(Message(topic, _UNLOAD, JSON) for topic in topics)


def placeholder(topics: Iterable[str]) -> tuple[Message, ...]:
    """Return the messages of step 2, which prepare the topics of the device form for clearing.

    Home Assistant warns when a device topic without a known component is cleared. So the unloaded device gets a
    placeholder that leaves no trace, a tag scanner on a topic without publisher, and clearing removes this component.
    The device itself stays as long as one of its entities is enabled. A device whose entities are all disabled is
    removed with one warning, and the other form restores it unchanged.

    A bridge that is killed between steps 2 and 3 starts again with step 1, which half-unloads the placeholder: all
    entities are kept, and Home Assistant warns once if that device is removed before its next restart.
    """
    return tuple(_placeholder(topic) for topic in topics if _is_device(topic))


def is_migration(payload: bytes) -> bool:
    """Return whether a retained payload is one of the steps 1 and 2: the migration was interrupted, or is under way."""
    return payload == _UNLOAD or _PLACEHOLDER in payload


def _is_device(topic: str) -> bool:
    return topic.split("/")[-3:-2] == ["device"]


def _placeholder(topic: str) -> Message:
    prefix = topic.removesuffix("/config")
    content = {
        "device": {"identifiers": [prefix.rsplit("/", 1)[-1]]},
        "origin": {"name": ORIGIN},
        "components": {"migration": {"platform": "tag", "topic": f"{prefix}/migration"}},
    }
    return Message(topic, json_payload(content), JSON)
