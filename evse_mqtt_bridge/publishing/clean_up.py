"""The clean-up: clears the topics of previous entries when nothing else is pending, one `info` after the other.

Each `info` without its previous entries follows the clearing of their topics. The topics of unproven entries follow. No
`info` lists these: if the clearing is interrupted, the search finds them again. The bridge comes last, because its
entries name the base topics under which those of stations are found, and the former client ids.
"""

from evse_mqtt_bridge.domain.model import StationState
from evse_mqtt_bridge.publishing.manifest import Entry
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.renderer import Renderer
from evse_mqtt_bridge.publishing.unproven_entries import UnprovenEntries

__all__ = ["CleanUp"]


class CleanUp:
    """Yields the messages of the clean-up.

    Args:
        renderer: Has the previous entries.
        outbox: Gets the messages that clear topics, and drops those for topics that are published meanwhile.
    """

    def __init__(self, renderer: Renderer, outbox: Outbox[StationState]) -> None:
        self._renderer = renderer
        self._outbox = outbox
        self._topic = ""
        self._queued: UnprovenEntries | None = None
        """The unproven entries of which the next ones are queued, and dropped when their topics are cleared."""

    def reset(self) -> None:
        """Begin again, because the previous entries have changed, or something else is published first."""
        self._topic = ""
        self._queued = None
        self._outbox.drop_last()

    def next_message(self, unproven: UnprovenEntries) -> Message | None:
        """Return the next message; `None` if there is nothing to clear. Call it only if nothing else is pending.

        Args:
            unproven: The entries that anybody may have written.
        """
        previous = self._renderer.previous
        while not self._topic and not previous.station_topics and self._queue_unproven(unproven):
            if message := self._outbox.next_message():
                return message
        return self._next_of_previous() if previous else None

    def _queue_unproven(self, unproven: UnprovenEntries) -> bool:
        """Queue the topics of the next unproven entries; return whether there are any."""
        if self._queued is unproven:
            unproven.drop_next()
        self._queued = unproven if unproven.has_topics else None
        if self._queued:
            entries, topics = unproven.next_entries(may_clear_bridges=not self._renderer.plan.topics.shard)
            self._outbox.put_last(clear(self._without_present(entries, topics)))
        return self._queued is not None

    def _next_of_previous(self) -> Message:
        previous, own = self._renderer.previous, self._renderer.plan.topics.info
        if not self._topic:
            self._topic = previous.last_station_topic() or own
            self._outbox.put_last(clear(self._renderer.topics_to_clear(self._topic)))
            if message := self._outbox.next_message():
                return message
        topic, self._topic = self._topic, ""
        if topic == own:
            previous.drop_bridges()
        else:
            previous.drop(topic)
        return self._renderer.info(topic)

    def _without_present(self, entries: tuple[Entry, ...], topics: list[str]) -> list[str]:
        """Return topics of unproven entries, without those of present stations and of other bridges."""
        obsolete = set(self._renderer.obsolete(entries))
        plan = self._renderer.plan
        return [topic for topic in topics if topic in obsolete and not plan.is_published(topic)]
