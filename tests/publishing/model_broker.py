"""A model of a broker: it stores retained topics, and receives messages from a publication when a test allows it."""

from collections.abc import Container, Iterable, Iterator, Mapping

from evse_mqtt_bridge.publishing.known_manifest import NOTHING_KNOWN, KnownManifest
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Phase, Publication, Subscriptions
from evse_mqtt_bridge.publishing.topics import covers

__all__ = ["ModelBroker"]

_ROOM = 20
"""Maximum number of messages that the publication returns at once, if the number to deliver is not limited."""


class ModelBroker:
    """A broker, and a session without time.

    Attributes:
        foreign: Retained topics of other clients, which the bridge must not touch.
        claimed: Topics that another bridge publishes as well, which the bridge must not clear once it knows that.
        forged_prefix: The prefix below which other clients forge entries of the bridge; it may clear topics there.
        retained: All retained topics.
        conflicts: Devices that were discovered in both forms at once, about which Home Assistant warns.
    """

    def __init__(
        self, foreign: Mapping[str, bytes] | None = None, claimed: Container[str] = (), forged_prefix: str = "\0"
    ) -> None:
        self.foreign = dict(foreign or {})
        self.claimed = claimed
        self.forged_prefix = forged_prefix
        self.retained = dict(self.foreign)
        self.conflicts: list[str] = []
        self._publication: Publication | None = None
        self._subscriptions: Subscriptions | None = None
        self._is_search_complete = False
        self._will = Message("", b"")

    @property
    def connected(self) -> bool:
        return self._publication is not None

    @property
    def own(self) -> dict[str, bytes]:
        """The retained topics without those of other clients."""
        return {
            topic: payload
            for topic, payload in self.retained.items()
            if topic not in self.foreign and not topic.startswith(self.forged_prefix)
        }

    def connect(
        self,
        publication: Publication,
        *,
        is_restored: bool = True,
        may_search_first: bool = True,
        known: KnownManifest = NOTHING_KNOWN,
    ) -> None:
        """Connect the bridge, for the first time or again; with `is_restored`, it reads the manifest."""
        self.lose_connection()
        self._publication, self._will = publication, publication.will()
        self._subscriptions = publication.connected(may_search_first=may_search_first, known=known)
        self._is_search_complete = False
        while is_restored and self._subscriptions is not None:
            self.restore()

    def restore(self) -> None:
        """Deliver the retained messages of the last subscriptions, if the bridge waits for any."""
        publication, subscriptions = self._publication, self._subscriptions
        if publication is not None and subscriptions is not None:
            for topic, payload in self._matching((*subscriptions.lasting, *subscriptions.retained)):
                publication.received(topic, payload, retained=True)
            self._subscriptions = publication.restored()

    def lose_connection(self) -> None:
        """End the connection, drop all pending messages, and publish the will."""
        if self._publication is not None:
            self.disconnect()
            self._store(self._will)

    def disconnect(self) -> None:
        """End the connection and drop all pending messages, without the will."""
        publication, self._publication, self._subscriptions = self._publication, None, None
        if publication is not None:
            publication.disconnected()

    def stop(self) -> None:
        """Stop the bridge: it publishes `offline` as its last message."""
        if self._publication is not None:
            self._publication.closing()
            delivered = self.deliver()
            assert delivered[-1] == self._publication.will()
            self.disconnect()

    def reconfigure(self, publication: Publication, plan: Plan) -> None:
        """Switch to another plan; like the bridge, on a new connection if it has another will."""
        is_same = (publication.plan.topics, publication.plan.client_id) == (plan.topics, plan.client_id)
        if is_same:
            publication.reconfigured(plan)
        else:
            self.stop()
            publication.reconfigured(plan)
            self.connect(publication)

    def lose_memory(self) -> None:
        """Lose all retained messages; other clients publish theirs again."""
        self.retained = dict(self.foreign)

    def deliver(self, count: int | None = None) -> list[Message]:
        """Receive this many messages, or all that are pending, and return them."""
        delivered: list[Message] = []
        while self._publication is not None and (count is None or len(delivered) < count):
            messages = self._publication.next_messages(_ROOM if count is None else count - len(delivered))
            if messages:
                for message in messages:
                    self._store(message)
                delivered += messages
            elif self._publication.phase is Phase.MIGRATING:
                self._publication.stage_acknowledged()
            elif self._subscriptions is None and self._has_to_search(self._publication):
                self._search(self._publication)
            else:
                break
        return delivered

    def _has_to_search(self, publication: Publication) -> bool:
        is_outdated = publication.phase is Phase.LIVE and not publication.watch.are_others_read
        return is_outdated or not self._is_search_complete

    def _search(self, publication: Publication) -> None:
        """Deliver the retained messages of the next subscription of the search."""
        subscriptions = publication.next_search()
        self._is_search_complete = subscriptions is None
        if subscriptions is not None:
            for topic, payload in self._matching((*subscriptions.lasting, *subscriptions.retained)):
                publication.received(topic, payload, retained=True)

    def _matching(self, filters: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        wanted = list(filters)
        for topic, payload in list(self.retained.items()):
            if any(covers(topic_filter, topic) for topic_filter in wanted):
                yield topic, payload

    def _store(self, message: Message) -> None:
        assert message.topic not in self.foreign, f"{message.topic} is not the bridge's"
        assert not message.payload or not message.topic.startswith(self.forged_prefix)
        watch = self._publication.watch if self._publication is not None else None
        if message.topic in self.claimed and watch is not None and watch.are_others_read:
            assert _is_discovery(message.payload), f"{message.topic} belongs to another bridge, too"
        if not message.retain:
            assert message.topic.endswith("/session_event")
            return
        if message.payload:
            self.retained[message.topic] = message.payload
        else:
            self.retained.pop(message.topic, None)
        if message.topic.endswith("/config") and _is_discovery(message.payload):
            self._record_conflicts(message.topic)

    def _record_conflicts(self, topic: str) -> None:
        prefix, platform, device, *_ = topic.split("/")
        for other, payload in self.retained.items():
            if other in self.claimed:
                continue
            is_same = other.startswith(f"{prefix}/") and f"/{device}/" in other and _is_discovery(payload)
            if is_same and (other.split("/")[1] == "device") != (platform == "device"):
                self.conflicts.append(f"{topic} and {other} at once")


def _is_discovery(payload: bytes) -> bool:
    return bool(payload) and b"migrat" not in payload
