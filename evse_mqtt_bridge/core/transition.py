"""The way from what was published to what is wanted, where the order matters."""

from collections.abc import Iterable
from dataclasses import dataclass

from evse_mqtt_bridge.core import homeassistant, messages
from evse_mqtt_bridge.core.model import Message

__all__ = ["Transition"]


@dataclass(frozen=True, slots=True)
class Transition:
    """`steps` come before the whole picture, each when the one before it has been taken in; `last` comes after it."""

    steps: tuple[tuple[Message, ...], ...]
    last: tuple[Message, ...]

    @classmethod
    def of(cls, moved: Iterable[str], gone: Iterable[str]) -> "Transition":
        """For discovery topics whose devices are discovered elsewhere from then on, and for topics that just go.

        Home Assistant keeps the entities of `moved` and their history; see core/homeassistant.py for the steps.
        """
        moved = list(moved)
        steps = (
            tuple(homeassistant.migration(moved)),
            tuple(homeassistant.placeholder(moved)),
            tuple(messages.clear(moved)),
        )
        return cls(tuple(step for step in steps if step), tuple(messages.clear(gone)))
