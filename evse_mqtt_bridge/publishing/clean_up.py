"""The clean-up: clears the topics of previous entries when nothing else is pending, one `info` after the other.

Each `info` without its previous entries follows the clearing of their topics. The bridge comes last, because its
entries name the base topics under which those of stations are found.
"""

from evse_mqtt_bridge.domain.model import StationState
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.renderer import Renderer

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

    def reset(self) -> None:
        """Begin again, because the previous entries have changed, or something else is published first."""
        self._topic = ""
        self._outbox.drop_last()

    def next_message(self) -> Message:
        """Return the next message. Call it only if there are previous entries, and nothing else is pending."""
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
