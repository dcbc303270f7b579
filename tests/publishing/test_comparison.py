"""A broker that receives only changes ends with the same retained topics as after a full republish, at any speed.

Two things may differ: an unknown value keeps its last payload, and `time` and `state` may lag behind by a heartbeat
while only the measurement time changes.
"""

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Rules, advance, has_changes
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics
from tests.harness.samples import at, outcomes

_TOPICS = Topics("evse")
_STATION = Station("e1", 30, alias="garage", plugs={"p2": "left"})
_polls = st.lists(st.tuples(outcomes, st.floats(1, 3000), st.booleans()), max_size=10)
"""Outcomes, the seconds before each, and whether the broker receives the change at once, or with a later one."""


def _changes(old: StationState | None, new: StationState) -> list[Message]:
    output = PlainTopics(_TOPICS)
    messages = [message for part in Part for message in output.station(part, _STATION, old, new)]
    assert len({message.topic for message in messages}) == len(messages), "each topic once"
    assert all(message.payload for message in messages), "nothing is deleted"
    return messages


def _tree(messages: Iterable[Message]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in messages}


def _everything(state: StationState) -> dict[str, str]:
    return _tree(_changes(None, state))


def _published_in_steps(
    polls: Iterable[tuple[Outcome, float, bool]], rules: Rules
) -> tuple[dict[str, str], StationState]:
    """Return the retained topics after these polls, and the state at that time."""
    broker: dict[str, str] = {}
    state, now = StationState(), 0.0
    last_published: StationState | None = None
    for outcome, wait, is_quick in polls:
        now += wait
        before, state = state, advance(state, outcome, rules, at(now))
        if has_changes(before, state):
            last_published = last_published or before
        else:
            assert _changes(before, state) == []
        if last_published and is_quick:
            broker |= _tree(_changes(last_published, state))
            last_published = None
    if last_published:
        broker |= _tree(_changes(last_published, state))
    return broker, state


@given(_polls)
def test_changes_add_up_to_everything(polls: list[tuple[Outcome, float, bool]]) -> None:
    broker, state = _published_in_steps(polls, Rules(heartbeat=0))
    expected = _everything(state)
    assert {topic: broker.get(topic) for topic in expected} == expected
    for topic in broker.keys() - expected.keys():
        parsed = _TOPICS.read(topic)
        assert isinstance(parsed, PlugTopic)
        if parsed.plug in {_STATION.plug_topic_id(uuid) for uuid in state.plugs}:  # else the plug was removed
            published = json.loads(expected[f"evse/garage/{parsed.plug}/state"])
            assert published[parsed.field] in (None, ""), "only missing values are left out"


@given(_polls, st.sampled_from([1.0, 60.0, 1500.0]))
def test_with_a_heartbeat_only_the_time_lags(polls: list[tuple[Outcome, float, bool]], heartbeat: float) -> None:
    broker, state = _published_in_steps(polls, Rules(heartbeat=heartbeat))
    for topic, payload in _everything(state).items():
        if topic.endswith("/state"):
            published, known = json.loads(broker[topic]), json.loads(payload)
            time = published.pop("time")
            known.pop("time")
            assert published == known
            assert time in (None, broker.get(topic.removesuffix("state") + "time")), "they are published together"
        elif not topic.endswith("/time"):
            assert broker[topic] == payload


@given(_polls, outcomes)
def test_same_answer_again_publishes_nothing(polls: list[tuple[Outcome, float, bool]], outcome: Outcome) -> None:
    rules = Rules(offline_after=1, stale_after=0, heartbeat=0)
    _, state = _published_in_steps(polls, rules)
    once = advance(state, outcome, rules, at(1e6))
    again = advance(once, outcome, rules, at(1e6 + 30))
    assert _changes(once, again) == []
