"""The parts from which JSON payloads are joined."""

import json

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.publishing.payloads import (
    json_inner_text,
    json_members,
    json_payload,
    object_payload,
    text_members,
)

_texts = st.text(st.characters(exclude_categories=[]))
_objects = st.dictionaries(_texts, st.none() | st.booleans() | st.integers() | _texts, max_size=3)


@given(_objects, _objects)
def test_joined_object_equals_the_encoded_one(first: dict[str, object], second: dict[str, object]) -> None:
    second = {key: value for key, value in second.items() if key not in first}
    assert object_payload((json_members(first), json_members(second))) == json_payload(first | second)


@given(st.dictionaries(st.sampled_from(["name", "serial_number", "via_device"]), _texts))
def test_members_of_texts_equal_those_of_any_values(content: dict[str, str]) -> None:
    assert text_members(content) == json_members(content)


@given(_texts, _texts)
def test_inner_texts_join_to_one_text(first: str, second: str) -> None:
    assert json.loads(f'"{json_inner_text(first)}{json_inner_text(second)}"') == json.loads(json.dumps(first + second))
