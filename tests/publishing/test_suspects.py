"""Topics at which a broker closes connections: which ones are published alone, and which ones are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.publishing.suspects import FilterSuspects, Suspects


def _left_out(suspects: Suspects, topic: str) -> str:
    """Close two connections at a topic, and return what is left out."""
    assert suspects.closed([topic]) == ""
    return suspects.closed([topic])


def test_unacknowledged_topics_become_suspects() -> None:
    suspects = Suspects("evse")
    assert suspects.closed(["evse/a", "evse/b"]) == ""
    assert suspects.is_suspect("evse/a")
    assert not suspects.is_suspect("evse/c")
    suspects.acknowledged("evse/a")
    assert not suspects.is_suspect("evse/a")
    assert suspects.is_suspect("evse/b")


def test_topic_of_two_closed_connections_is_left_out() -> None:
    suspects = Suspects("evse")
    assert _left_out(suspects, "evse/a/info") == "evse/a/info"
    assert suspects.is_left_out("evse/a/info")
    assert not suspects.is_left_out("evse/b/info")
    assert not suspects.is_suspect("evse/a/info")
    assert suspects.closed(["evse/a/info", "evse/b/info"]) == "", "a topic that is left out explains nothing"


def test_acknowledged_suspect_needs_two_more_connections() -> None:
    suspects = Suspects("evse")
    assert suspects.closed(["evse/a"]) == ""
    suspects.acknowledged("evse/a")
    assert suspects.closed(["evse/a"]) == ""
    assert not suspects.is_left_out("evse/a")


def test_topic_outside_of_the_base_topic_stands_for_all() -> None:
    suspects = Suspects("site/evse")
    assert _left_out(suspects, "homeassistant/sensor/a/power/config") == "homeassistant/#"
    assert suspects.is_left_out("homeassistant/device/b/config")
    assert suspects.is_left_out("site/other")
    assert not suspects.is_left_out("site/evse/a/info")


def test_three_topics_stand_for_their_field() -> None:
    suspects = Suspects("evse")
    assert _left_out(suspects, "evse/a/1/label") == "evse/a/1/label"
    assert _left_out(suspects, "evse/a/2/label") == "evse/a/2/label"
    assert not suspects.is_left_out("evse/b/1/label")
    assert _left_out(suspects, "evse/b/1/label") == "evse/+/+/label"
    assert suspects.is_left_out("evse/c/1/label")
    assert not suspects.is_left_out("evse/c/label"), "a field of a station is another one"
    assert not suspects.is_left_out("evse/c/1/power")


@pytest.mark.parametrize("size", [0, 5000])
def test_number_of_suspects_is_bounded(size: int) -> None:
    suspects = Suspects("evse")
    suspects.closed(f"evse/{number}" for number in range(size))
    assert sum(suspects.is_suspect(f"evse/{number}") for number in range(size)) == min(size, 1000)


_TOPICS = [f"evse/{station}/1/{name}" for station in "abcd" for name in ("power", "label")] + ["ha/a", "ha/b", "ha/c"]


@given(st.sets(st.sampled_from(_TOPICS)), st.integers(1, 5))
def test_every_forbidden_topic_is_found(forbidden: set[str], window: int) -> None:
    """A model of a broker that closes the connection at each forbidden topic; the messages before it are lost, too."""
    suspects = Suspects("evse")
    is_closed = True
    for _ in range(100):
        pending = [topic for topic in _TOPICS if not suspects.is_left_out(topic)]
        in_flight: list[str] = []
        is_closed = False
        while pending and not is_closed:
            is_alone = suspects.is_suspect(pending[0])
            count = 1 if is_alone else window
            in_flight = [topic for topic in pending[:count] if is_alone or not suspects.is_suspect(topic)]
            pending = [topic for topic in pending if topic not in in_flight]
            is_closed = not forbidden.isdisjoint(in_flight)
            if is_alone and not is_closed:
                suspects.acknowledged(in_flight[0])
        if not is_closed:
            break
        suspects.closed(in_flight)
    assert not is_closed
    assert all(suspects.is_left_out(topic) for topic in forbidden)
    has_outside = any(topic.startswith("ha/") for topic in forbidden)
    for topic in set(_TOPICS) - forbidden:
        field = topic.rsplit("/", 1)[-1]
        is_of_field = sum(other.endswith(field) for other in forbidden) >= 3
        assert suspects.is_left_out(topic) <= (has_outside if topic.startswith("ha/") else is_of_field), topic


# Subscriptions


def test_filter_of_two_closed_connections_is_given_up() -> None:
    suspects = FilterSuspects()
    assert list(suspects.batches(["a", "b"])) == [["a", "b"]]
    assert suspects.closed(["a", "b"], is_optional=False) == ""
    assert list(suspects.batches(["a", "b", "c"])) == [["c"], ["a"], ["b"]]
    suspects.accepted(["a"])
    assert suspects.closed(["b"], is_optional=False) == ""
    assert suspects.closed(["b"], is_optional=False) == "b"
    assert suspects.is_given_up("b")
    assert list(suspects.batches(["a", "b"])) == [["a"]]


def test_optional_filter_is_given_up_after_one_connection() -> None:
    suspects = FilterSuspects()
    suspects.accepted(["marker"])
    assert suspects.closed(["a", "marker"], is_optional=True) == "a"


def test_accepted_filter_is_no_suspect() -> None:
    suspects = FilterSuspects()
    suspects.accepted(["a"])
    assert suspects.closed(["a"], is_optional=False) == ""
    assert list(suspects.batches(["a"])) == [["a"]]
