"""What waits to be said: the latest message of each topic, in three ranks.

What changed is not held up by a whole picture on its way, nor the picture by changes: while both wait they take turns.
The picture comes from a source that is drawn from only as the broker takes it, so that its messages are as new as the
state, and twenty thousand stations do not stand in memory twice. What goes last is what must not be seen before the
rest: clearing topics that went.
"""

from collections import OrderedDict  # taking the first out of a dict costs a look at all that went before it
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from evse_mqtt_bridge.core.model import Message

__all__ = ["Outbox"]


@dataclass(slots=True)
class Outbox:
    """Not bounded by a number, but by the topics that exist: each waits at most once."""

    _first: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    _source: Iterator[Message] = field(default_factory=lambda: iter(()))
    _last: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    _is_pictures_turn: bool = True

    def put(self, messages: Iterable[Message]) -> None:
        """Say these; each replaces what waits on its topic, and calls off a clearing of it."""
        for message in messages:
            self._first[message.topic] = message
            if self._last:
                self._last.pop(message.topic, None)

    def put_last(self, messages: Iterable[Message]) -> None:
        """Say these when nothing else waits, in this order; each replaces what waits on its topic."""
        for message in messages:
            self._first.pop(message.topic, None)
            self._last.pop(message.topic, None)
            self._last[message.topic] = message

    def refill(self, source: Iterable[Message]) -> None:
        """Say what `source` yields, drawn as it is sent; what is left of an earlier source is given up for it."""
        self._source = iter(source)

    def take(self) -> Message | None:
        """The next message, or `None`."""
        self._is_pictures_turn = not self._is_pictures_turn
        if self._first and not self._is_pictures_turn:
            return self._first.popitem(last=False)[1]
        for message in self._source:
            self._first.pop(message.topic, None)  # the source reads the state now, so what waits is not newer
            if self._last:
                self._last.pop(message.topic, None)
            return message
        if self._first:
            return self._first.popitem(last=False)[1]
        if self._last:
            return self._last.popitem(last=False)[1]
        return None

    def interrupt(self) -> None:
        """Forget what changed and the picture, for another picture to come; what goes last still goes."""
        self._first.clear()
        self._source = iter(())

    def empty(self) -> None:
        """Forget all of it."""
        self.interrupt()
        self._last.clear()
