"""The way from what was published to what is wanted, where the order matters."""

from collections.abc import Iterable
from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.outputs import homeassistant

__all__ = ["Change", "Transition", "transition"]


@dataclass(frozen=True, slots=True)
class Change:
    """What `was` published, and what is `now` (`None`: nothing) in its place."""

    was: StationEntry | BridgeEntry
    now: StationEntry | BridgeEntry | None


@dataclass(frozen=True, slots=True)
class Transition:
    """`steps` come before the whole picture, each when the one before it has been taken in; `last` comes after it.

    `records` are the topics of the `info` that tell of what goes last. Until that is done they are all that tells of
    it, so nothing else may be said there before.
    """

    steps: tuple[tuple[Message, ...], ...]
    last: tuple[Message, ...]
    records: frozenset[str] = frozenset()


def transition(changes: Iterable[Change]) -> Transition:
    """What to say so that nothing is left of what was, and entities that only change their form are kept.

    Discovery that something else takes the place of is cleared before that is published. Home Assistant keeps the
    entities and their history of what moves within its prefix; see outputs/homeassistant/migration.py. All
    else is cleared last, or with the old form where the record is to tell of the new one by then.
    """
    moved: list[str] = []
    replaced: list[str] = []
    gone: list[str] = []
    records: set[str] = set()
    for change in changes:
        was, now = change.was, change.now
        if was == now:
            continue
        before, after = was.all_topics(), now.all_topics() if now else {}
        # An alias may have gone from one plug to another; its topics are others' then.
        kept = {topic for topic, plug in before.items() if after.get(topic) == plug}
        discovered = [topic for topic in was.discovery_topics() if topic not in kept] if now else []
        kept.update(discovered)
        going = [topic for topic in before if topic not in kept]
        moves = now and now.discovery and was.discovery and now.discovery.prefix == was.discovery.prefix
        moved += discovered if moves else ()
        replaced += discovered
        if moves and discovered:
            # After the steps of a move, the record has to tell of the new form before that is published, or is
            # another's, and then tells no more of what goes: so that goes with the old form.
            replaced += [topic for topic in going if topic != was.record]
            gone += [topic for topic in going if topic == was.record]
        elif going:
            gone += going
            records.add(was.record)
    steps = (homeassistant.migration(moved), homeassistant.placeholder(moved), tuple(messages.clear(replaced)))
    return Transition(tuple(step for step in steps if step), tuple(messages.clear(gone)), frozenset(records))
