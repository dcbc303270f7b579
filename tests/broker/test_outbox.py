"""The outbox: the latest message of each topic, changes before the picture, and clearing last."""

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from evse_mqtt_bridge.broker.outbox import Outbox
from evse_mqtt_bridge.core.model import Message


def _say(topic: str, payload: str = "1") -> Message:
    return Message(topic, payload.encode())


def _drain(outbox: Outbox) -> list[tuple[str, str]]:
    out = []
    while (message := outbox.take()) is not None:
        out.append((message.topic, message.payload.decode()))
    return out


def test_an_empty_outbox_has_nothing_to_say() -> None:
    assert Outbox().take() is None


def test_each_topic_waits_once_with_its_latest_message() -> None:
    outbox = Outbox()
    for turn in range(1000):
        outbox.put([_say("a", str(turn)), _say("b", str(turn))])
    assert _drain(outbox) == [("a", "999"), ("b", "999")]


def test_changes_go_before_the_picture_and_clearing_last() -> None:
    outbox = Outbox()
    outbox.put_last([_say("gone", "")])
    outbox.refill([_say("picture 1"), _say("picture 2")])
    outbox.put([_say("change")])
    assert outbox.take() == _say("change")
    assert outbox.take() == _say("picture 1")
    outbox.put([_say("change")])
    assert [topic for topic, _ in _drain(outbox)] == ["change", "picture 2", "gone"]


def test_changes_without_end_do_not_keep_the_picture_from_coming() -> None:
    outbox = Outbox()
    outbox.refill([_say("picture 1"), _say("picture 2")])
    taken = []
    for number in range(4):
        outbox.put([_say(f"change {number}"), _say(f"further {number}")])
        message = outbox.take()
        assert message
        taken.append(message.topic)
    assert taken == ["change 0", "picture 1", "further 0", "picture 2"]


def test_what_waits_is_not_said_after_the_picture_that_was_newer() -> None:
    outbox = Outbox()
    outbox.put([_say("a", "1"), _say("b", "1")])
    outbox.refill([_say("b", "2")])
    assert _drain(outbox) == [("a", "1"), ("b", "2")]


def test_the_picture_is_drawn_as_it_is_taken() -> None:
    drawn = []

    def picture() -> Iterator[Message]:
        for number in range(3):
            drawn.append(number)
            yield _say(str(number))

    outbox = Outbox()
    outbox.refill(picture())
    assert drawn == []
    outbox.take()
    assert drawn == [0]


def test_another_picture_takes_the_place_of_the_one_on_its_way() -> None:
    outbox = Outbox()
    outbox.refill([_say("old 1"), _say("old 2")])
    outbox.take()
    outbox.refill([_say("new")])
    assert _drain(outbox) == [("new", "1")]


def test_what_is_said_again_is_not_cleared() -> None:
    outbox = Outbox()
    outbox.put_last([_say("a", ""), _say("b", ""), _say("c", "")])
    outbox.put([_say("a")])
    outbox.refill([_say("b")])
    assert _drain(outbox) == [("a", "1"), ("b", "1"), ("c", "")]


def test_clearing_takes_the_place_of_what_waits() -> None:
    outbox = Outbox()
    outbox.put([_say("a"), _say("b")])
    outbox.put_last([_say("a", "")])
    assert _drain(outbox) == [("b", "1"), ("a", "")]


def test_an_interruption_leaves_only_what_goes_last() -> None:
    outbox = Outbox()
    outbox.put([_say("a")])
    outbox.refill([_say("b")])
    outbox.put_last([_say("c", "")])
    outbox.interrupt()
    assert _drain(outbox) == [("c", "")]


def test_emptying_forgets_all_three() -> None:
    outbox = Outbox()
    outbox.put([_say("a")])
    outbox.refill([_say("b")])
    outbox.put_last([_say("c", "")])
    outbox.empty()
    assert outbox.take() is None
    outbox.put([_say("d")])
    assert _drain(outbox) == [("d", "1")]


class ABrokerFedThroughTheOutbox(RuleBasedStateMachine):
    """Whoever says each change of a state, and its picture when asked to, ends with a broker that shows the state."""

    topics = st.sampled_from("abcdef")

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.state: dict[str, str] = {}
        self.broker: dict[str, str] = {}
        self.turn = 0

    def _picture(self) -> Iterator[Message]:
        for topic in "abcdef":
            if topic in self.state:
                yield _say(topic, self.state[topic])

    @rule(topics=st.lists(topics, max_size=3))
    def change(self, topics: list[str]) -> None:
        self.turn += 1
        self.state |= dict.fromkeys(topics, str(self.turn))
        self.outbox.put(_say(topic, str(self.turn)) for topic in topics)

    @rule(topics=st.lists(topics, max_size=2, unique=True))
    def remove(self, topics: list[str]) -> None:
        for topic in topics:
            self.state.pop(topic, None)
        self.outbox.put_last(_say(topic, "") for topic in topics)

    @rule()
    def repeat(self) -> None:
        self.outbox.refill(self._picture())

    @rule()
    def reconnect_to_a_broker_that_forgot(self) -> None:
        self.outbox.empty()
        self.broker = {}
        self.outbox.refill(self._picture())

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        for _ in range(count):
            message = self.outbox.take()
            if message is None:
                assert self.broker == self.state
            elif message.payload:
                self.broker[message.topic] = message.payload.decode()
            else:
                self.broker.pop(message.topic, None)

    def teardown(self) -> None:
        self.take(100)


TestABrokerFedThroughTheOutbox = ABrokerFedThroughTheOutbox.TestCase
TestABrokerFedThroughTheOutbox.settings = settings(max_examples=60, stateful_step_count=30)
