"""Properties of the parser: it never raises, invents no value, and an invalid object affects only its own plug."""

import json
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Failure, PlugReading, Reading, Reason
from tests.harness import plug_object, status_example

_EVSE = "25104c56d7f848af830af4300193efb3"
_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_EXAMPLE = json.dumps(status_example()).encode()

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["idle", "7107.0", "NaN", _EVSE, "2024-03-25T11:12:17.851Z", "9" * 400, 10**400, -(10**30)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_objects = st.fixed_dictionaries(
    {},
    optional={
        **{name: _json | st.just(value) for name, value in plug_object().items()},
        "plug_uuid": st.sampled_from(["p1", "p2", "p/3", "", 4, None]),
        "new": _json,
    },
)


def _check(outcome: Reading | Failure, answer: object) -> None:
    """Check what every outcome must fulfil; `answer` is the parsed JSON."""
    if isinstance(outcome, Failure):
        assert outcome.reason is Reason.INVALID_RESPONSE
        assert outcome.detail.isprintable()
        return
    assert outcome.plugs
    assert isinstance(answer, list)
    uuids = [plug.plug_uuid for plug in outcome.plugs]
    assert len(set(uuids)) == len(uuids)
    assert not set(uuids) & outcome.invalid
    assert all(note.isprintable() for note in outcome.notes)
    for plug in outcome.plugs:
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", plug.plug_uuid)
        assert any(_is_from(plug, item) for item in answer), "every value is in the answer"


def _number(received: object) -> str:
    """Return a number or its text as the text of a float; empty if it is none."""
    try:
        return str(float(str(received)))
    except ValueError:
        return ""


def _is_from(plug: PlugReading, item: dict[str, Any]) -> bool:
    """Return whether each value of a reading is that of an object of the response."""
    for name in _NUMBERS:
        value, received = getattr(plug, name), item.get(name)
        if value is None or received is None:
            if value is not received:
                return False
        elif isinstance(received, bool | list | dict) or str(value) != _number(received) or abs(value) > 1e9:
            return False
    if plug.time is not None and item.get("time") is None:
        return False
    return (item.get("plug_uuid"), item.get("plug_label"), item.get("status")) == (
        plug.plug_uuid,
        plug.label,
        plug.status,
    )


@given(_json | st.lists(_objects, max_size=4))
def test_no_value_is_invented_for_any_json(answer: object) -> None:
    _check(parse(json.dumps(answer).encode(), _EVSE), answer)


@given(st.lists(_objects, max_size=3))
def test_unusual_objects_affect_no_other_plug(odd: list[dict[str, Any]]) -> None:
    alone = parse(json.dumps([plug_object()]).encode(), _EVSE)
    among = parse(json.dumps([*odd[:1], plug_object(), *odd[1:]]).encode(), _EVSE)
    assert isinstance(alone, Reading)
    assert isinstance(among, Reading)
    assert alone.plugs[0] in among.plugs


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"\xef\xbb\xbf[]")
@example(b'[{"plug_uuid":"p","plug_label":"\\ud800"}]')
@example(b'[{"plug_uuid":"p","power":' + b"9" * 5000 + b"}]")
@example(b'[{"a":' * 3000)
def test_no_bytes_raise(body: bytes) -> None:
    outcome = parse(body, _EVSE)
    if isinstance(outcome, Failure):
        assert outcome.reason is Reason.INVALID_RESPONSE
        assert outcome.detail.isprintable()


@given(st.data())
def test_no_mutation_of_the_example_raises(data: st.DataObject) -> None:
    body = bytearray(_EXAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 5, len(body))))
        body[start:end] = data.draw(st.binary(max_size=5) | st.sampled_from([b"NaN", b'"', b"\\", b"null", b"{", b"]"]))
    outcome = parse(bytes(body), _EVSE)
    if isinstance(outcome, Reading):
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", plug.plug_uuid) for plug in outcome.plugs)


@given(st.integers(0, len(_EXAMPLE) - 1))
def test_truncated_answer_is_a_failure(length: int) -> None:
    assert isinstance(parse(_EXAMPLE[:length], _EVSE), Failure)
