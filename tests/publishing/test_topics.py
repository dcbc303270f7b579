"""Topics are read as they are built, and filters cover what MQTT defines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS, STATION_FIELDS
from evse_mqtt_bridge.publishing.topics import PlugTopic, StationTopic, Topics, covers, matcher

_bases = st.sampled_from(["evse", "site/evse", "a/b/c", "bridge", "evse/bridge"])
_ids = st.sampled_from(["25104c56d7f848af830af4300193efb3", "garage-north", "état", "info", "availability", "state"])


def test_topics_of_the_bridge() -> None:
    topics = Topics("site/evse")
    assert topics.availability == "site/evse/bridge/availability"
    assert topics.info == "site/evse/bridge/info"
    assert set(topics.bridge) == {topics.availability, topics.info}
    assert covers("+/+/bridge/info", topics.info)
    assert sum(covers(topic_filter, topics.info) for topic_filter in Topics.bridge_info_filters()) == 1


@given(_bases, _ids, _ids)
def test_read_returns_what_was_built(base: str, station: str, plug: str) -> None:
    topics = Topics(base)
    for field in STATION_FIELDS:
        assert topics.read(topics.station(station, field.name)) == StationTopic(station, field.name)
    for field in PLUG_FIELDS:
        assert topics.read(topics.plug(station, plug, field.name)) == PlugTopic(station, plug, field.name)
    assert topics.plug(station, plug, "power").startswith(topics.plug(station, plug))
    assert covers(topics.manifest_filter, topics.station(station, "info"))


@pytest.mark.parametrize(
    "topic",
    [
        "evse",
        "evse/",
        "evse/garage",
        "evse/garage/custom",
        "evse/garage/left/custom",
        "evse/garage/left/power/set",
        "evse/garage/power",
        "evse/garage/left/info",
        "evse/bridge/availability",
        "evse/bridge/info",
        "evse/bridge/left/power",
        "evse2/garage/availability",
        "evs/garage/availability",
        "EVSE/garage/availability",
        "other/evse/garage/availability",
        "",
    ],
)
def test_read_rejects_topics_outside_the_contract(topic: str) -> None:
    assert Topics("evse").read(topic) is None


@pytest.mark.parametrize(
    ("topic_filter", "topic", "covered"),
    [
        ("#", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+", "a", True),
        ("+", "a/b", False),
        ("+/+", "a/b", True),
        ("+/+", "/b", True),
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/c", False),
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("homeassistant/+/+/config", "homeassistant/sensor/x/config", True),
        ("homeassistant/+/+/config", "homeassistant/sensor/x/y/config", False),
    ],
)
def test_covers_follows_mqtt(topic_filter: str, topic: str, *, covered: bool) -> None:
    assert covers(topic_filter, topic) is covered


_levels = st.lists(st.sampled_from(["a", "b", "", "a.b"]), min_size=1, max_size=4).map("/".join)
_filters = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.sampled_from(["a", "b", "+", "", "a.b"]), min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
)


@given(st.lists(_filters, max_size=3), _levels)
def test_matcher_agrees_with_covers(filters: list[str], topic: str) -> None:
    assert matcher(filters)(topic) is any(covers(each, topic) for each in filters)
