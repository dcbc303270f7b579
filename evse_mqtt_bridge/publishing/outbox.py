"""What waits to be said: which stations have news, and what goes before and after them.

A station with news waits as what the broker was told of it last, and is put into words when its turn comes, from what
is known then. So a broker that is slow costs one older state of a station at most, each value goes out once as it is in
the end, and twenty thousand stations that answer for the first time do not stand in memory as a million messages.

The whole picture is drawn in the same way. While both wait, news and picture take turns: neither is held up by the
other's end. What goes last is what must not be seen before the rest: clearing topics that went.
"""

from collections import OrderedDict  # taking the first out of a dict costs a look at all that went before it
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from evse_mqtt_bridge.domain.model import Message

__all__ = ["Outbox"]

_Told = TypeVar("_Told")


@dataclass(slots=True)
class Outbox(Generic[_Told]):
    """Not bounded by a number, but by the stations that exist: each waits at most once.

    `draw` puts into words what the broker does not know yet of a key, after what it was told (`None`: nothing).
    """

    draw: Callable[[str, _Told | None], Iterator[Message]]
    _first: Iterator[Message] = field(default_factory=lambda: iter(()))
    _waiting: OrderedDict[str, _Told | None] = field(default_factory=OrderedDict)
    _news: Iterator[Message] = field(default_factory=lambda: iter(()))
    _picture: Iterator[Message] = field(default_factory=lambda: iter(()))
    _last: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    _is_pictures_turn: bool = True

    def put_first(self, messages: Iterable[Message]) -> None:
        """Say these before all else; what is left of earlier ones is given up for them."""
        self._first = iter(messages)

    def put(self, key: str, told: _Told | None) -> None:
        """`key` has news; `told` is what the broker was told of it, where it was not waiting already."""
        if told is None:
            self._waiting[key] = None
        else:
            self._waiting.setdefault(key, told)

    def waits(self, key: str) -> bool:
        """Whether there is news of `key` that was not begun."""
        return key in self._waiting

    def put_last(self, messages: Iterable[Message]) -> None:
        """Say these when nothing else waits, in this order; each replaces what waits to be last on its topic.

        One whose topic is said in the meantime is called off.
        """
        for message in messages:
            self._last.pop(message.topic, None)
            self._last[message.topic] = message

    def refill(self, picture: Iterable[Message]) -> None:
        """Say what `picture` yields; what is left of an earlier one is given up for it."""
        self._picture = iter(picture)

    def take(self) -> Message | None:
        """The next message, or `None`."""
        self._is_pictures_turn = not self._is_pictures_turn
        message = next(self._first, None)
        if message is None:
            if self._is_pictures_turn:
                message = next(self._picture, None) or self._take_news()
            else:
                message = self._take_news() or next(self._picture, None)
        if not self._last:
            return message
        if message is None:
            return self._last.popitem(last=False)[1]
        self._last.pop(message.topic, None)
        return message

    def _take_news(self) -> Message | None:
        message = next(self._news, None)
        while message is None and self._waiting:
            self._news = self.draw(*self._waiting.popitem(last=False))
            message = next(self._news, None)
        return message

    def interrupt(self) -> None:
        """Forget the news and the picture, for another picture to come; what goes first and last still goes."""
        self._waiting.clear()
        self._news = iter(())
        self._picture = iter(())

    def empty(self) -> None:
        """Forget all of it."""
        self.interrupt()
        self._first = iter(())
        self._last.clear()
