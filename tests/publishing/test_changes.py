"""A broker that is told only what changes holds what it would hold had it been told everything, however slow it is.

Two things may differ, and only these: a value that went keeps its last payload, and `time` and `state` may lag behind
by a heartbeat while nothing but the measurement time moves.
"""

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import Message, Outcome, Station, StationState
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.topics import PlugPlace, Topics
from tests.harness.samples import at, outcomes

_TOPICS = Topics("evse")
_STATION = Station("e1", 30, alias="garage", plugs={"p2": "left"})
_polls = st.lists(st.tuples(outcomes, st.floats(1, 3000), st.booleans()), max_size=10)
"""Outcomes, the seconds before each, and whether the broker takes the news of it in at once, or with a later one."""


def _tree(said: Iterable[Message]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in said}


def _whole(state: StationState) -> dict[str, str]:
    said = [*messages.values(_TOPICS, _STATION, state), *messages.availability(_TOPICS, _STATION, state)]
    assert len({message.topic for message in said}) == len(said), "each topic once"
    return _tree(said)


def _told_in_steps(polls: Iterable[tuple[Outcome, float, bool]], rules: Rules) -> tuple[dict[str, str], StationState]:
    """What a broker holds after these polls, and what is known then."""
    broker: dict[str, str] = {}
    state, now = StationState(), 0.0
    told: StationState | None = None
    for outcome, wait, is_quick in polls:
        now += wait
        before, state = state, advance(state, outcome, rules, at(now))
        if messages.has_changes(before, state):
            told = told or before
        else:
            assert list(messages.changes(_TOPICS, _STATION, before, state)) == []
        if told and is_quick:
            broker |= _said(told, state)
            told = None
    if told:
        broker |= _said(told, state)
    return broker, state


def _said(told: StationState, state: StationState) -> dict[str, str]:
    said = list(messages.changes(_TOPICS, _STATION, told, state))
    assert len({message.topic for message in said}) == len(said), "each topic once"
    assert all(message.payload for message in said), "nothing is deleted"
    return _tree(said)


@given(_polls)
def test_changes_add_up_to_the_whole(polls: list[tuple[Outcome, float, bool]]) -> None:
    broker, state = _told_in_steps(polls, Rules(heartbeat=0))
    whole = _whole(state)
    assert {topic: broker.get(topic) for topic in whole} == whole
    for topic in broker.keys() - whole.keys():
        place = _TOPICS.read(topic)
        assert isinstance(place, PlugPlace)
        if place.plug in {_STATION.plugs.get(uuid, uuid) for uuid in state.plugs}:  # else the plug went
            told = json.loads(whole[f"evse/garage/{place.plug}/state"])
            assert told[place.field] in (None, ""), "only what has no value is not in the whole"


@given(_polls, st.sampled_from([1.0, 60.0, 1500.0]))
def test_with_a_heartbeat_only_the_time_lags(polls: list[tuple[Outcome, float, bool]], heartbeat: float) -> None:
    broker, state = _told_in_steps(polls, Rules(heartbeat=heartbeat))
    for topic, payload in _whole(state).items():
        if topic.endswith("/state"):
            told, known = json.loads(broker[topic]), json.loads(payload)
            time = told.pop("time")
            known.pop("time")
            assert told == known
            assert time in (None, broker.get(topic.removesuffix("state") + "time")), "they are said together"
        elif not topic.endswith("/time"):
            assert broker[topic] == payload


@given(_polls, outcomes)
def test_the_same_answer_again_says_nothing(polls: list[tuple[Outcome, float, bool]], outcome: Outcome) -> None:
    rules = Rules(offline_after=1, stale_after=0, heartbeat=0)
    _, state = _told_in_steps(polls, rules)
    once = advance(state, outcome, rules, at(1e6))
    again = advance(once, outcome, rules, at(1e6 + 30))
    assert list(messages.changes(_TOPICS, _STATION, once, again)) == []
