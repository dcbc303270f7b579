"""Finds the topics and subscriptions at which a broker closes the connection, and leaves them out.

Some brokers, mostly hosted ones, answer a forbidden message by closing the connection, without naming the topic. The
bridge would republish everything and be disconnected at the same topic again and again. The rules:

- The topics that were unacknowledged when the broker closed a connection become suspects.
- A suspect is published alone, with no other message unacknowledged. If the broker acknowledges it, it is no longer a
  suspect. If the broker closes the connection, the suspect is the cause, or a coincidence.
- After two connections that were closed at the same topic, the topic is left out.
- Access rules follow prefixes and fields. So one topic outside of the base topic, which is one of discovery, stands for
  all of them; and three topics of one field stand for the field.
- Subscriptions follow the same rules. A filter that the broker accepted once is no suspect again, and a filter that is
  only needed for a clean-up is given up after one connection.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["MOST_FILTERS", "FilterSuspects", "Suspects"]

MOST_FILTERS = 100
"""Maximum number of filters in one SUBSCRIBE or UNSUBSCRIBE, because brokers limit their number or size."""

_CLOSED_CONNECTIONS = 2
_TOPICS_OF_A_FIELD = 3
_LIMIT = 1000


@dataclass(slots=True)
class Suspects:
    """The suspects and the topics to leave out, for one broker.

    Attributes:
        base: The base topic, without a slash at the end.
    """

    base: str
    _closed: dict[str, int] = field(default_factory=dict)
    """The suspects, each with the number of connections that were closed while it was the only unacknowledged topic."""
    _left_out: set[str] = field(default_factory=set)
    _fields: Counter[str] = field(default_factory=Counter)
    _is_base_only: bool = False

    def closed(self, unacknowledged: Iterable[str]) -> str:
        """Note that the broker closed a connection.

        Args:
            unacknowledged: The topics of the messages that it had not acknowledged.

        Returns:
            A filter for the topics that are left out from now on; empty: none.
        """
        topics = [topic for topic in unacknowledged if not self.is_left_out(topic)]
        if len(topics) != 1:
            for topic in topics[: _LIMIT - len(self._closed)]:
                self._closed.setdefault(topic, 0)
            return ""
        (topic,) = topics
        self._closed[topic] = self._closed.get(topic, 0) + 1
        return self._leave_out(topic) if self._closed[topic] >= _CLOSED_CONNECTIONS else ""

    def acknowledged(self, topic: str) -> None:
        """Note that the broker acknowledged a suspect."""
        self._closed.pop(topic, None)

    @property
    def has_any(self) -> bool:
        """Whether there is any suspect, or any topic to leave out; there is none with most brokers."""
        return bool(self._closed or self._left_out)

    def is_suspect(self, topic: str) -> bool:
        """Return whether a topic has to be published alone."""
        return topic in self._closed

    def is_left_out(self, topic: str) -> bool:
        """Return whether a topic is left out."""
        if not self._left_out:
            return False
        is_outside = self._is_base_only and not topic.startswith(f"{self.base}/")
        return is_outside or topic in self._left_out or self._fields[_field(topic)] >= _TOPICS_OF_A_FIELD

    def _leave_out(self, topic: str) -> str:
        """Leave out a topic, and those that it stands for; return a filter for them."""
        del self._closed[topic]
        self._left_out.add(topic)
        if not topic.startswith(f"{self.base}/"):
            self._is_base_only = True
            return f"{topic.split('/', maxsplit=1)[0]}/#"
        self._fields[_field(topic)] += 1
        if self._fields[_field(topic)] < _TOPICS_OF_A_FIELD:
            return topic
        levels = topic[len(self.base) + 1 :].split("/")
        return "/".join([self.base, *("+" for _ in levels[:-1]), levels[-1]])


def _field(topic: str) -> str:
    """Return the last level of a topic and the number of levels: plugs and stations have fields of the same name."""
    return f"{topic.count('/')}/{topic.rsplit('/', 1)[-1]}"


@dataclass(slots=True)
class FilterSuspects:
    """The same for subscriptions; each filter is a suspect, accepted, given up, or unknown."""

    _closed: dict[str, int] = field(default_factory=dict)
    _accepted: set[str] = field(default_factory=set)
    _given_up: set[str] = field(default_factory=set)

    def batches(self, filters: Iterable[str]) -> Iterator[list[str]]:
        """Yield the filters that belong into one SUBSCRIBE: each suspect alone, the others together, in portions."""
        wanted = [each for each in filters if each not in self._given_up]
        others = [each for each in wanted if each not in self._closed]
        for start in range(0, len(others), MOST_FILTERS):
            yield others[start : start + MOST_FILTERS]
        yield from ([each] for each in wanted if each in self._closed)

    def accepted(self, filters: Iterable[str]) -> None:
        """Note that the broker answered a SUBSCRIBE."""
        for each in filters:
            self._closed.pop(each, None)
            self._accepted.add(each)

    def closed(self, filters: Iterable[str], *, is_optional: bool) -> str:
        """Note that the broker closed the connection at a SUBSCRIBE.

        Args:
            filters: The filters of the SUBSCRIBE.
            is_optional: Whether they are only needed for a clean-up.

        Returns:
            The filter that is given up from now on; empty: none.
        """
        unknown = [each for each in filters if each not in self._accepted]
        for each in unknown:
            self._closed.setdefault(each, 0)
        if len(unknown) != 1:
            return ""
        self._closed[unknown[0]] += 1
        if self._closed[unknown[0]] < (1 if is_optional else _CLOSED_CONNECTIONS):
            return ""
        del self._closed[unknown[0]]
        self._given_up.add(unknown[0])
        return unknown[0]

    def give_up(self, filters: Iterable[str]) -> None:
        """Do not subscribe to these filters any more."""
        self._given_up.update(filters)

    def is_given_up(self, topic_filter: str) -> bool:
        """Return whether a filter is given up."""
        return topic_filter in self._given_up
