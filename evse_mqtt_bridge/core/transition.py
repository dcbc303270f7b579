"""The way from what was published to what is wanted, where the order matters."""

from collections.abc import Iterable
from dataclasses import dataclass

from evse_mqtt_bridge.core import homeassistant, messages
from evse_mqtt_bridge.core.ledger import BridgeEntry, StationEntry
from evse_mqtt_bridge.core.model import Message

__all__ = ["Change", "Transition", "transition"]


@dataclass(frozen=True, slots=True)
class Change:
    """What `was` published, and what is `now` (`None`: nothing) in its place.

    `inherited` are topics that are another's now, such as those of an alias that went from one station to another.
    """

    was: StationEntry | BridgeEntry
    now: StationEntry | BridgeEntry | None
    inherited: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Transition:
    """`steps` come before the whole picture, each when the one before it has been taken in; `last` comes after it."""

    steps: tuple[tuple[Message, ...], ...]
    last: tuple[Message, ...]


def transition(changes: Iterable[Change]) -> Transition:
    """What to say so that nothing is left of what was, and entities that only change their form are kept.

    Home Assistant keeps the entities and their history of discovery topics that move; see
    core/homeassistant/migration.py for the steps. All others are just cleared.
    """
    moved: list[str] = []
    gone: list[str] = []
    for change in changes:
        was, now = change.was, change.now
        if was == now:
            continue
        kept = {*(now.all_topics() if now else ()), *change.inherited}
        moves = now and now.discovery and was.discovery and now.discovery.prefix == was.discovery.prefix
        discovered = set(was.discovery_topics()) if moves else set()
        for topic in was.all_topics():
            if topic not in kept:
                (moved if topic in discovered else gone).append(topic)
    steps = (homeassistant.migration(moved), homeassistant.placeholder(moved), tuple(messages.clear(moved)))
    return Transition(tuple(step for step in steps if step), tuple(messages.clear(gone)))
