"""The outbox: each key waits once, and is put into words when its turn comes; news and picture take turns."""

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.publishing.outbox import Outbox


def _say(topic: str, payload: str = "1") -> Message:
    return Message(topic, payload.encode())


def _differences(state: dict[str, str], key: str, told: dict[str, str] | None) -> Iterator[Message]:
    """The topics of `key`, which begin with it, whose payload is not the one told."""
    for topic, payload in state.items():
        if topic.startswith(key) and (told is None or told.get(topic) != payload):
            yield _say(topic, payload)


class _World:
    """A state (payload by topic), and an outbox that tells of it."""

    def __init__(self, **state: str) -> None:
        self.state = state
        self.outbox: Outbox[dict[str, str]] = Outbox(lambda key, told: _differences(self.state, key, told))

    def change(self, **payloads: str) -> None:
        """The keys are the first letters of the topics."""
        told, self.state = self.state, self.state | payloads
        for key in dict.fromkeys(topic[0] for topic in payloads):
            self.outbox.put(key, told)

    def drain(self) -> list[tuple[str, str]]:
        out = []
        while (message := self.outbox.take()) is not None:
            out.append((message.topic, message.payload.decode()))
        return out


def test_an_empty_outbox_has_nothing_to_say() -> None:
    assert _World(a="1").outbox.take() is None


def test_each_key_waits_once_and_says_the_newest_of_all_that_changed() -> None:
    world = _World(a1="0", a2="0", a3="0", b="0")
    for turn in range(1, 1000):
        world.change(a1=str(turn), b=str(turn))
    world.change(a2="1")
    assert world.drain() == [("a1", "999"), ("a2", "1"), ("b", "999")]


def test_what_is_again_as_it_was_told_is_not_said() -> None:
    world = _World(a="0", b="0")
    world.change(a="1", b="1")
    world.change(a="0")
    assert world.drain() == [("b", "1")]


def test_nothing_is_put_into_words_before_its_turn() -> None:
    drawn: list[str] = []

    def draw(key: str, _told: str | None) -> Iterator[Message]:
        drawn.append(key)
        yield _say(key)

    outbox: Outbox[str] = Outbox(draw)
    outbox.put("a", "told")
    outbox.put("b", "told")
    assert drawn == []
    outbox.take()
    assert drawn == ["a"]


def test_what_was_told_first_counts_unless_nothing_was() -> None:
    told: list[tuple[str, str | None]] = []

    def draw(key: str, what: str | None) -> Iterator[Message]:
        told.append((key, what))
        yield _say(key)

    outbox: Outbox[str] = Outbox(draw)
    for key, what in (("a", "first"), ("a", "second"), ("b", "first"), ("b", None), ("c", None), ("c", "second")):
        outbox.put(key, what)
    while outbox.take():
        pass
    assert told == [("a", "first"), ("b", None), ("c", None)]


def test_news_that_has_nothing_to_say_holds_nothing_up() -> None:
    world = _World(a="0", b="0")
    world.outbox.put("a", world.state)
    world.change(b="1")
    assert world.drain() == [("b", "1")]


def test_news_and_picture_take_turns_and_clearing_is_last() -> None:
    world = _World(a="0", b="0")
    world.outbox.put_last([_say("gone", "")])
    world.outbox.refill([_say("picture 1"), _say("picture 2")])
    world.change(a="1")
    assert world.outbox.take() == _say("a")
    assert world.outbox.take() == _say("picture 1")
    world.change(b="1")
    assert [topic for topic, _ in world.drain()] == ["b", "picture 2", "gone"]


def test_changes_without_end_do_not_keep_the_picture_from_coming() -> None:
    world = _World()
    world.outbox.refill([_say("picture 1"), _say("picture 2")])
    taken = []
    for number in range(4):
        world.change(**{f"a{number}": "1", f"b{number}": "1"})
        message = world.outbox.take()
        assert message
        taken.append(message.topic)
    assert taken[1::2] == ["picture 1", "picture 2"]


def test_the_picture_is_drawn_as_it_is_taken() -> None:
    drawn = []

    def picture() -> Iterator[Message]:
        for number in range(3):
            drawn.append(number)
            yield _say(str(number))

    outbox = _World().outbox
    outbox.refill(picture())
    assert drawn == []
    outbox.take()
    assert drawn == [0]


def test_another_picture_takes_the_place_of_the_one_on_its_way() -> None:
    world = _World()
    world.outbox.refill([_say("old 1"), _say("old 2")])
    world.outbox.take()
    world.outbox.refill([_say("new")])
    assert world.drain() == [("new", "1")]


def test_what_goes_first_goes_before_all_else() -> None:
    world = _World(a="0")
    world.change(a="1")
    world.outbox.refill([_say("picture")])
    world.outbox.put_last([_say("gone", "")])
    world.outbox.put_first([_say("first 1"), _say("first 2")])
    assert [topic for topic, _ in world.drain()] == ["first 1", "first 2", "a", "picture", "gone"]


def test_what_is_said_is_not_cleared() -> None:
    world = _World(a="0")
    world.outbox.put_last([_say(topic, "") for topic in ("a", "b", "c", "d")])
    world.change(a="1")
    world.outbox.refill([_say("b")])
    world.outbox.put_first([_say("d")])
    said = world.drain()
    assert sorted(said) == [("a", "1"), ("b", "1"), ("c", ""), ("d", "1")]
    assert said[-1] == ("c", "")


def test_what_goes_last_waits_once_per_topic() -> None:
    world = _World()
    world.outbox.put_last([_say("a", ""), _say("b", "")])
    world.outbox.put_last([_say("a", "2")])
    assert world.drain() == [("b", ""), ("a", "2")]


def test_an_interruption_leaves_what_goes_first_and_last() -> None:
    world = _World(a1="0", a2="0", b="0")
    world.change(a1="1", a2="1", b="1")
    assert world.outbox.take() == _say("a1")
    world.outbox.refill([_say("picture")])
    world.outbox.put_first([_say("first")])
    world.outbox.put_last([_say("gone", "")])
    world.outbox.interrupt()
    assert world.drain() == [("first", "1"), ("gone", "")]


def test_emptying_forgets_all_of_it() -> None:
    world = _World(a1="0", a2="0", b="0")
    world.change(a1="1", a2="1", b="1")
    world.outbox.take()
    world.outbox.refill([_say("picture")])
    world.outbox.put_first([_say("first")])
    world.outbox.put_last([_say("gone", "")])
    world.outbox.empty()
    assert world.outbox.take() is None
    world.change(b="2")
    assert world.drain() == [("b", "2")]


class ABrokerFedThroughTheOutbox(RuleBasedStateMachine):
    """Whoever tells of each change of a state, and its picture when asked to, ends with a broker that shows it."""

    topics = st.sampled_from(["a1", "a2", "b1", "b2", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.world = _World()
        self.broker: dict[str, str] = {}
        self.turn = 0

    def _picture(self) -> Iterator[Message]:
        for topic in ("a1", "a2", "b1", "b2", "c"):
            if topic in self.world.state:
                yield _say(topic, self.world.state[topic])

    @rule(topics=st.lists(topics, max_size=3), payload=st.sampled_from(["new", "1", "2"]))
    def change(self, topics: list[str], payload: str) -> None:
        self.turn += 1
        self.world.change(**dict.fromkeys(topics, f"{self.turn}" if payload == "new" else payload))

    @rule(topics=st.lists(topics, max_size=2, unique=True))
    def remove(self, topics: list[str]) -> None:
        # Another dict, so that what was told stays what it was.
        self.world.state = {topic: payload for topic, payload in self.world.state.items() if topic not in topics}
        self.world.outbox.put_last(_say(topic, "") for topic in topics)

    @rule(key=st.sampled_from("abc"))
    def tell_anew(self, key: str) -> None:
        self.world.outbox.put(key, None)

    @rule()
    def repeat(self) -> None:
        self.world.outbox.refill(self._picture())

    @rule()
    def reconnect_to_a_broker_that_forgot(self) -> None:
        self.world.outbox.empty()
        self.broker = {}
        self.world.outbox.refill(self._picture())

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        for _ in range(count):
            message = self.world.outbox.take()
            if message is None:
                assert self.broker == self.world.state
            elif message.payload:
                self.broker[message.topic] = message.payload.decode()
            else:
                self.broker.pop(message.topic, None)

    def teardown(self) -> None:
        self.take(100)


TestABrokerFedThroughTheOutbox = ABrokerFedThroughTheOutbox.TestCase
TestABrokerFedThroughTheOutbox.settings = settings(max_examples=60, stateful_step_count=30)
