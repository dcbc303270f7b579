"""A session and its broker in one, as a model: the real outbox, drained when told, into a dict of retained topics.

What it does is what broker/session.py does, without time: nothing is kept while there is no connection; a transition
drops what waits, except for what goes last; its steps are taken in one by one, and that with them; then comes the whole
picture, drawn as it is sent.
"""

from collections.abc import Iterable, Iterator, Mapping

from evse_mqtt_bridge.domain.model import Message, StationState
from evse_mqtt_bridge.publishing.migration import Transition
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.publishing.topics import covers

__all__ = ["ModelBroker"]


class ModelBroker:
    """`retained` is what the broker holds; `foreign` is what others keep there, which the bridge must not touch.

    `conflicts` are devices that were discovered in both forms at once, of which Home Assistant complains. `window` is
    how many messages the broker takes in at once, whenever something is said.
    """

    def __init__(self, foreign: Mapping[str, bytes] | None = None) -> None:
        self.foreign = dict(foreign or {})
        self.retained = dict(self.foreign)
        self.conflicts: list[str] = []
        self.window = 0
        self._outbox: Outbox[StationState] = Outbox(self._draw)
        self._bridge: Bridge | None = None

    @property
    def connected(self) -> bool:
        return self._bridge is not None

    @property
    def ours(self) -> dict[str, bytes]:
        """What is retained besides what others keep there."""
        return {topic: payload for topic, payload in self.retained.items() if topic not in self.foreign}

    # what the bridge calls

    def publish(self, key: str, told: StationState) -> None:
        if self.connected:
            self._outbox.put(key, told)
            self.deliver(self.window)

    def publish_last(self, messages: Iterable[Message]) -> None:
        if self.connected:
            self._outbox.put_last(messages)
            self.deliver(self.window)

    def publish_anew(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        if self.connected:
            for key in keys:
                self._outbox.put(key, None)
            self._outbox.put_last(last)
            self.deliver(self.window)

    def repeat(self) -> None:
        if self._bridge is not None:
            self._outbox.refill(self._bridge.whole(self._outbox.waits))
            self.deliver(self.window)

    def change(self, transition: Transition) -> None:
        if self._bridge is not None:
            self._introduce(self._bridge, transition)

    # what happens to it

    def connect(self, bridge: Bridge) -> None:
        """The bridge connects, or connects again."""
        self.disconnect()
        self._bridge = bridge
        told = self._read(bridge.memory_filters)
        told |= self._read(bridge.more_memory_filters(told))
        self._introduce(bridge, bridge.recall(told))

    def disconnect(self) -> None:
        self._bridge = None
        self._outbox.empty()

    def forget(self) -> None:
        """The broker loses what it retained; others publish theirs again."""
        self.retained = dict(self.foreign)

    def deliver(self, count: int | None = None) -> list[Message]:
        """Take in this many messages, or all that wait, and return them."""
        delivered: list[Message] = []
        while self.connected and (count is None or len(delivered) < count):
            message = self._outbox.take()
            if message is None:
                break
            self._receive(message)
            delivered.append(message)
        return delivered

    def _draw(self, key: str, told: StationState | None) -> Iterator[Message]:
        assert self._bridge is not None, "nothing waits without a connection"
        return self._bridge.news(key, told)

    def _introduce(self, bridge: Bridge, transition: Transition) -> None:
        self._outbox.interrupt()
        for step in transition.steps:
            self._outbox.put_first(step)
            self.deliver()
        self._outbox.refill(bridge.whole(self._outbox.waits))
        self._outbox.put_last([*transition.last, *bridge.late_infos()])
        self.deliver(self.window)

    def _read(self, filters: Iterable[str]) -> dict[str, bytes]:
        wanted = list(filters)
        return {
            topic: payload
            for topic, payload in self.retained.items()
            if any(covers(topic_filter, topic) for topic_filter in wanted)
        }

    def _receive(self, message: Message) -> None:
        assert message.topic not in self.foreign, f"{message.topic} is not the bridge's"
        if message.payload:
            self.retained[message.topic] = message.payload
        else:
            self.retained.pop(message.topic, None)
        if message.topic.endswith("/config") and _stands(message.payload):
            self._look_for_the_other_form(message.topic)

    def _look_for_the_other_form(self, topic: str) -> None:
        prefix, platform, device, *_ = topic.split("/")
        for other, payload in self.retained.items():
            is_same = other.startswith(f"{prefix}/") and f"/{device}/" in other and _stands(payload)
            if is_same and (other.split("/")[1] == "device") != (platform == "device"):
                self.conflicts.append(f"{topic} and {other} at once")


def _stands(payload: bytes) -> bool:
    return bool(payload) and b"migrat" not in payload
