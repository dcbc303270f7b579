"""The outbox: each key is queued once and rendered at the front; changes and full republish alternate."""

import gc
import sys
from collections import OrderedDict
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outbox import Outbox


def _message(topic: str, payload: str = "1") -> Message:
    return Message(topic, payload.encode())


def _differences(state: dict[str, str], key: str, published: dict[str, str] | None) -> Iterator[Message]:
    """Yield the topics of `key`, which begin with it, whose payload differs from the published one."""
    for topic, payload in state.items():
        if topic.startswith(key) and (published is None or published.get(topic) != payload):
            yield _message(topic, payload)


class _Source:
    """A state (payload by topic), and an outbox for its changes."""

    def __init__(self, **state: str) -> None:
        self.state = state
        self.uncompleted: set[str] = set()
        self.outbox: Outbox[dict[str, str]] = Outbox(self._render)

    def everything(self) -> Iterator[Message]:
        """Yield every topic, but leave the rest of a key to its change, as the renderer does."""
        self.uncompleted = {topic[0] for topic in self.state}
        return self._everything(self.uncompleted)

    def _everything(self, uncompleted: set[str]) -> Iterator[Message]:
        for topic in sorted(self.state):
            key = topic[0]
            if key in uncompleted and key not in self.outbox.queued and topic in self.state:
                yield _message(topic, self.state[topic])
        uncompleted.difference_update([key for key in uncompleted if key not in self.outbox.queued])

    def _render(self, key: str, published: dict[str, str] | None) -> Iterator[Message]:
        """Yield the differences of one state, but not on topics that were removed meanwhile, as the renderer does."""
        if key in self.uncompleted:
            self.uncompleted.remove(key)
            published = None
        return (each for each in _differences(self.state, key, published) if each.topic in self.state)

    def change(self, **payloads: str) -> None:
        """Change the topics; the keys are the first letters of the topics."""
        published, self.state = self.state, self.state | payloads
        for key in dict.fromkeys(topic[0] for topic in payloads):
            self.outbox.put_change(key, published)

    def drain(self) -> list[tuple[str, str]]:
        out = []
        while (message := self.outbox.next_message()) is not None:
            out.append((message.topic, message.payload.decode()))
        return out


def test_drained_queue_needs_no_memory_for_former_keys() -> None:
    outbox: Outbox[str] = Outbox(lambda key, _: iter([_message(key)]))
    for number in range(1000):
        outbox.put_change(str(number), None)
    (queue,) = (each for each in gc.get_referents(outbox) if isinstance(each, OrderedDict) and each)
    while outbox.next_message() is not None:
        pass
    assert sys.getsizeof(queue) < 1000


def test_an_empty_outbox_has_nothing_to_message() -> None:
    assert _Source(a="1").outbox.next_message() is None


def test_key_is_queued_once_and_publishes_the_newest() -> None:
    source = _Source(a1="0", a2="0", a3="0", b="0")
    for number in range(1, 1000):
        source.change(a1=str(number), b=str(number))
    source.change(a2="1")
    assert source.drain() == [("a1", "999"), ("a2", "1"), ("b", "999")]


def test_undone_change_publishes_nothing() -> None:
    source = _Source(a="0", b="0")
    source.change(a="1", b="1")
    source.change(a="0")
    assert source.drain() == [("b", "1")]


def test_change_is_rendered_at_the_front() -> None:
    rendered: list[str] = []

    def render(key: str, _published: str | None) -> Iterator[Message]:
        rendered.append(key)
        yield _message(key)

    outbox: Outbox[str] = Outbox(render)
    outbox.put_change("a", "published")
    outbox.put_change("b", "published")
    assert rendered == []
    outbox.next_message()
    assert rendered == ["a"]


def test_first_published_state_counts_unless_none() -> None:
    rendered: list[tuple[str, str | None]] = []

    def render(key: str, published: str | None) -> Iterator[Message]:
        rendered.append((key, published))
        yield _message(key)

    outbox: Outbox[str] = Outbox(render)
    for key, published in (("a", "first"), ("a", "second"), ("b", "first"), ("b", None), ("c", None), ("c", "second")):
        outbox.put_change(key, published)
    while outbox.next_message():
        pass
    assert rendered == [("a", "first"), ("b", None), ("c", None)]


def test_change_without_messages_is_skipped() -> None:
    source = _Source(a="0", b="0")
    source.outbox.put_change("a", source.state)
    source.change(b="1")
    assert source.drain() == [("b", "1")]


def test_changes_and_republish_alternate_clearing_is_last() -> None:
    source = _Source(a="0", b="0")
    source.outbox.put_last([_message("removed", "")])
    source.outbox.put_republish([_message("republish 1"), _message("republish 2")])
    source.change(a="1")
    assert source.outbox.next_message() == _message("a")
    assert source.outbox.next_message() == _message("republish 1")
    source.change(b="1")
    assert [topic for topic, _ in source.drain()] == ["b", "republish 2", "removed"]


def test_endless_changes_do_not_stop_the_republish() -> None:
    source = _Source()
    source.outbox.put_republish([_message("republish 1"), _message("republish 2")])
    topics = []
    for number in range(4):
        source.change(**{f"a{number}": "1", f"b{number}": "1"})
        message = source.outbox.next_message()
        assert message
        topics.append(message.topic)
    assert topics[1::2] == ["republish 1", "republish 2"]


def test_messages_of_one_change_are_returned_together() -> None:
    source = _Source(a1="0", a2="0", a3="0", b="0")
    source.change(a1="1", a2="1", a3="1", b="1")
    batches = iter(lambda: [message.topic for message in source.outbox.next_messages(2)], [])
    assert list(batches) == [["a1", "a2"], ["a3"], ["b"]]


def test_republish_returns_single_messages_beside_changes() -> None:
    source = _Source(a1="0", a2="0")
    source.outbox.put_republish([_message(f"republish {number}") for number in range(4)])
    source.change(a1="1", a2="1")
    batches = iter(lambda: [message.topic for message in source.outbox.next_messages(9)], [])
    assert list(batches) == [["a1"], ["republish 0"], ["a2"], ["republish 1"], ["republish 2", "republish 3"]]


def test_republish_is_rendered_as_it_is_taken() -> None:
    rendered = []

    def republish() -> Iterator[Message]:
        for number in range(3):
            rendered.append(number)
            yield _message(str(number))

    outbox = _Source().outbox
    outbox.put_republish(republish())
    assert rendered == []
    outbox.next_message()
    assert rendered == [0]


def test_another_republish_replaces_the_pending_one() -> None:
    source = _Source()
    source.outbox.put_republish([_message("old 1"), _message("old 2")])
    source.outbox.next_message()
    source.outbox.put_republish([_message("new")])
    assert source.drain() == [("new", "1")]


def test_put_first_precedes_everything() -> None:
    source = _Source(a="0")
    source.change(a="1")
    source.outbox.put_republish([_message("republish")])
    source.outbox.put_last([_message("removed", "")])
    source.outbox.put_first([_message("first 1"), _message("first 2")])
    assert [topic for topic, _ in source.drain()] == ["first 1", "first 2", "a", "republish", "removed"]


def test_published_topic_is_not_cleared() -> None:
    source = _Source(a="0")
    source.outbox.put_last([_message(topic, "") for topic in ("a", "b", "c")])
    source.change(a="1")
    source.outbox.put_republish([_message("b")])
    published = source.drain()
    assert sorted(published) == [("a", "1"), ("b", "1"), ("c", "")]
    assert published[-1] == ("c", "")


def test_put_last_keeps_one_message_per_topic() -> None:
    source = _Source()
    source.outbox.put_last([_message("a", ""), _message("b", "")])
    source.outbox.put_last([_message("a", "2")])
    assert source.drain() == [("b", ""), ("a", "2")]


def test_drop_last_keeps_everything_else() -> None:
    source = _Source(a="0")
    source.change(a="1")
    source.outbox.put_republish([_message("republish")])
    source.outbox.put_first([_message("first")])
    source.outbox.put_last([_message("removed", "")])
    source.outbox.drop_last()
    assert source.drain() == [("first", "1"), ("a", "1"), ("republish", "1")]


def test_drop_all_drops_everything() -> None:
    source = _Source(a1="0", a2="0", b="0")
    source.change(a1="1", a2="1", b="1")
    source.outbox.next_message()
    source.outbox.put_republish([_message("republish")])
    source.outbox.put_first([_message("first")])
    source.outbox.put_last([_message("removed", "")])
    source.outbox.drop_all()
    assert source.outbox.next_message() is None
    source.change(b="2")
    assert source.drain() == [("b", "2")]


class BrokerBehindAnOutbox(RuleBasedStateMachine):
    """Changes of a state, and full republishes at any time, end with a broker that shows the state."""

    topics = st.sampled_from(["a1", "a2", "b1", "b2", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.source = _Source()
        self.broker: dict[str, str] = {}
        self.step = 0

    @rule(topics=st.lists(topics, max_size=3), payload=st.sampled_from(["new", "1", "2"]))
    def change(self, topics: list[str], payload: str) -> None:
        self.step += 1
        self.source.change(**dict.fromkeys(topics, f"{self.step}" if payload == "new" else payload))

    @rule(topics=st.lists(topics, max_size=2, unique=True))
    def remove(self, topics: list[str]) -> None:
        # another dict, so that the published state stays as it was
        self.source.state = {topic: payload for topic, payload in self.source.state.items() if topic not in topics}
        self.source.outbox.put_last(_message(topic, "") for topic in topics)
        for (
            topic
        ) in topics:  # as the publication does: a topic that returns before it is cleared may have its old value
            self.source.outbox.put_change(topic[0], None)

    @rule(key=st.sampled_from("abc"))
    def publish_again(self, key: str) -> None:
        self.source.outbox.put_change(key, None)

    @rule()
    def republish(self) -> None:
        self.source.outbox.put_republish(self.source.everything())

    @rule()
    def reconnect_to_a_broker_that_lost_its_memory(self) -> None:
        self.source.outbox.drop_all()
        self.broker = {}
        self.source.outbox.put_republish(self.source.everything())

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        while count:
            messages = self.source.outbox.next_messages(count)
            assert len(messages) <= count
            if not messages:
                assert self.broker == self.source.state
                return
            count -= len(messages)
            for message in messages:
                if message.payload:
                    self.broker[message.topic] = message.payload.decode()
                else:
                    self.broker.pop(message.topic, None)

    def teardown(self) -> None:
        self.deliver(100)


TestBrokerBehindAnOutbox = BrokerBehindAnOutbox.TestCase
TestBrokerBehindAnOutbox.settings = settings(max_examples=60, stateful_step_count=30)
