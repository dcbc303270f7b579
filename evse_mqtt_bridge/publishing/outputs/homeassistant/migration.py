"""Changing between the entity form and the device form with entities, ids and history kept, and without a warning.

For any number of devices at once, in either direction, with a pause after each of the steps 1 to 3:

1. `migration(old topics)`: Home Assistant unloads the entities and keeps their registry entries.
2. `placeholder(old topics)`: for the device form; none for the entity form.
3. An empty payload on each of the old topics.
4. The other form's messages.

Whatever remembers which form is published must say the new one between steps 3 and 4: repeating steps 1 to 3 does
nothing before step 4, and after it makes Home Assistant warn of a conflict for each entity.

The pause gives Home Assistant time to unload; one second is ample. With 2,401 entities on two shared cores even none at
all went through both ways without a warning. If a device's message comes while one of its components is still
unloading, the rest of the message is dropped, and sending it again, unchanged, mends that.

Home Assistant's documentation clears the old topics last. That works too, but every cleared topic then counts as a
conflicting message for entities that are loaded from another topic: one warning for each entity.
"""

import json
from collections.abc import Iterable

from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import ORIGIN

__all__ = ["migration", "placeholder"]


def migration(topics: Iterable[str]) -> tuple[Message, ...]:
    """Step 1: unloads what was discovered on `topics`, of either form, and keeps its registry entries."""
    return tuple(Message(topic, b'{"migrate_discovery":true}', json=True) for topic in topics)


def placeholder(topics: Iterable[str]) -> tuple[Message, ...]:
    """Step 2: makes those of `topics` that are of the device form fit to be cleared.

    Home Assistant warns when a device topic is cleared for which it knows no component. So the unloaded device gets one
    that leaves no trace, a tag scanner on a topic that nobody publishes, and it is this that clearing removes. The
    device itself stays as long as one of its entities is enabled; one whose entities are all disabled is removed with
    one warning, and comes back as it was with the other form.

    A bridge that is killed between steps 2 and 3 begins anew with step 1, which unloads the placeholder by halves: all
    entities are kept, and Home Assistant warns once if that device is removed before its next restart.
    """
    return tuple(_placeholder(topic) for topic in topics if _is_device(topic))


def _is_device(topic: str) -> bool:
    return topic.split("/")[-3:-2] == ["device"]


def _placeholder(topic: str) -> Message:
    prefix = topic.removesuffix("/config")
    content = {
        "device": {"identifiers": [prefix.rsplit("/", 1)[-1]]},
        "origin": {"name": ORIGIN},
        "components": {"migration": {"platform": "tag", "topic": f"{prefix}/migration"}},
    }
    return Message(topic, json.dumps(content, separators=(",", ":")).encode(), json=True)
