"""The outbox: holds pending messages, and decides which of them is next.

A changed station is queued with the state published last, and rendered when it reaches the front. So a slow broker
costs at most one older state per station, a value that changes several times is published once, and 20,000 stations
that answer for the first time do not occupy memory as a million messages. The full republish is rendered lazily, too.

While both are pending, changes and full republish alternate: neither waits for the end of the other. Messages that
must follow everything else, such as those that clear removed topics, go last.
"""

from collections import OrderedDict  # removing the first key of a dict takes time for all keys removed before it
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Generic, TypeVar

from evse_mqtt_bridge.publishing.message import Message

__all__ = ["Outbox"]

_State = TypeVar("_State")


@dataclass(slots=True)
class Outbox(Generic[_State]):
    """Pending messages. Their number is bounded by the stations: each is queued at most once.

    Attributes:
        render: Renders what the broker lacks of a key, given the state published last (`None`: everything).
    """

    render: Callable[[str, _State | None], Iterator[Message]]
    _first: Iterator[Message] = field(default_factory=lambda: iter(()))
    _queue: OrderedDict[str, _State | None] = field(default_factory=OrderedDict)
    _rendering: Iterator[Message] = field(default_factory=lambda: iter(()))
    _republish: Iterator[Message] | None = None
    _last: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    _is_republish_next: bool = True

    def put_first(self, messages: Iterable[Message]) -> None:
        """Publish these messages before all others; they replace earlier ones that are still pending."""
        self._first = iter(messages)

    def put_before_all(self, messages: Iterable[Message]) -> None:
        """Publish these messages before all others, including those of `put_first`."""
        self._first = chain(messages, self._first)

    def put_change(self, key: str, last_published: _State | None) -> None:
        """Queue a changed key with its state published last; a queued key keeps the state that it was queued with."""
        if last_published is None:
            self._queue[key] = None
        else:
            self._queue.setdefault(key, last_published)

    @property
    def queued(self) -> Container[str]:
        """The keys whose changes are queued and not yet being rendered; a view, which is always up to date."""
        return self._queue.keys()

    def put_last(self, messages: Iterable[Message]) -> None:
        """Publish these messages when nothing else is pending, in this order.

        Each replaces an earlier one for its topic. It is dropped if a change or the full republish publishes its topic.
        """
        for message in messages:
            self._last.pop(message.topic, None)
            self._last[message.topic] = message

    @property
    def is_republishing(self) -> bool:
        """Whether a full republish is pending or under way."""
        return self._republish is not None

    def put_republish(self, messages: Iterable[Message]) -> None:
        """Begin a full republish with these messages; it replaces one that is under way."""
        self._republish = iter(messages)

    def pop_changes(self) -> Iterator[Message]:
        """Remove and yield the messages of the pending changes."""
        while messages := self._next_of_changes(1):
            yield from messages

    def next_message(self) -> Message | None:
        """Return the next message; `None` if none is pending."""
        return next(iter(self.next_messages(1)), None)

    def next_messages(self, most: int) -> list[Message]:
        """Return the next messages, at most `most`; none if none is pending.

        Several are from the full republish, or from one change, while the other one is not pending.
        """
        if first := next(self._first, None):
            return [first]
        self._is_republish_next = not self._is_republish_next
        if self._republish is None:
            messages = self._next_of_changes(most)
        elif self._is_republish_next:
            messages = self._next_of_republish(1) or self._next_of_changes(most)
        else:
            messages = self._next_of_changes(1) or self._next_of_republish(most)
        if self._last:
            for message in messages:
                self._last.pop(message.topic, None)
            return messages or [self._last.popitem(last=False)[1]]
        return messages

    def _next_of_republish(self, most: int) -> list[Message]:
        messages = list(islice(self._republish, most)) if self._republish else []
        if not messages:
            self._republish = None
        return messages

    def _next_of_changes(self, most: int) -> list[Message]:
        messages = list(islice(self._rendering, most))
        while not messages and self._queue:
            self._rendering = self.render(*self._queue.popitem(last=False))
            if not self._queue:
                self._queue.clear()  # an empty dict still has the room for the most keys that it ever had
            messages = list(islice(self._rendering, most))
        return messages

    def drop_last(self) -> None:
        """Drop the messages that go last."""
        self._last.clear()

    def drop_all(self) -> None:
        """Drop every pending message."""
        self._queue.clear()
        self._last.clear()
        self._first = self._rendering = iter(())
        self._republish = None
