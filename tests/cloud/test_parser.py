"""The parser of one station: each response has the reading that it has on its own, whatever came before."""

import json
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud import parser
from evse_mqtt_bridge.cloud.parser import ResponseParser
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Outcome, Reading, Repeat
from evse_mqtt_bridge.domain.repeats import with_time
from tests.harness import plug_object, status_example

_EVSE = "25104c56d7f848af830af4300193efb3"
_TIMES = ("2024-03-25T11:12:17.851Z", "2024-03-25T12:12:17+01:00", "2024-03-25 11:12", "yesterday", None, 5)

_plugs = st.builds(
    lambda plug, time, extra: {**plug, **({} if time == "" else {"time": time}), **extra},
    st.sampled_from(
        [plug_object(plug_uuid="p1"), plug_object(plug_uuid="p2", power=1), plug_object(plug_label='"time":')]
    ),
    st.sampled_from([*_TIMES, ""]),
    st.sampled_from([{}, {}, {'x"time': _TIMES[0]}, {"new": {"time": _TIMES[0]}}, {"plug_label": '"time": "x"'}]),
)
_encodings = st.sampled_from(
    [
        json.dumps,
        lambda answer: json.dumps(answer, separators=(",", ":")),
        lambda answer: json.dumps(answer, indent=1, ensure_ascii=False),
        lambda answer: json.dumps(answer).replace('"time"', '"\\u0074ime"'),
        lambda answer: json.dumps(answer).replace('"time"', f'"time": "{_TIMES[0]}", "time"'),
        lambda answer: json.dumps(answer)[:-3],
    ]
)
_bodies = st.builds(lambda plugs, encode: encode(plugs).encode(), st.lists(_plugs, max_size=3), _encodings)


@given(st.lists(_bodies, min_size=2, max_size=4), st.sampled_from([text for text in _TIMES if isinstance(text, str)]))
def test_responses_before_do_not_matter(bodies: list[bytes], time: str) -> None:
    response_parser = ResponseParser(_EVSE)
    last: Outcome | None = None
    for body in bodies:
        # the same response with other times, some of which are none
        variants = [
            body,
            *(body.replace(known.encode(), time.encode(), 1) for known in _TIMES if isinstance(known, str)),
        ]
        for variant in variants:
            expected, outcome = parse(variant, _EVSE), response_parser.parse(variant)
            if isinstance(outcome, Repeat):
                assert isinstance(last, Reading)
                assert outcome.fingerprint == last.fingerprint
                assert outcome.parse(variant) == expected
                assert outcome.notes == last.notes
                outcome = replace(last, plugs=tuple(with_time(plug, outcome.time) for plug in last.plugs))
            else:
                last = outcome
            assert outcome == expected


def _body(**changes: object) -> bytes:
    return json.dumps([{**plug, **changes} for plug in status_example()]).encode()


@pytest.mark.parametrize("times", [_TIMES[:2], _TIMES[:1] * 2])
def test_repeated_response_is_not_validated_again(times: tuple[str, ...]) -> None:
    response_parser = ResponseParser(status_example()[0]["evse_uuid"])
    first = response_parser.parse(_body(time=times[0]))
    expected = parse(_body(time=times[1]), status_example()[0]["evse_uuid"])
    with patch.object(parser, "parse", side_effect=AssertionError):
        repeat = response_parser.parse(_body(time=times[1]))
    assert isinstance(first, Reading)
    assert isinstance(expected, Reading)
    assert isinstance(repeat, Repeat)
    assert (repeat.fingerprint, repeat.time) == (first.fingerprint, expected.plugs[0].time)
    assert repeat.parsed() == expected


def test_response_with_several_times_has_no_repetition() -> None:
    response_parser = ResponseParser(status_example()[0]["evse_uuid"])
    plugs = [{**plug, "time": time} for plug, time in zip(status_example(), _TIMES[::2], strict=False)]
    body = json.dumps(plugs).encode()
    for _ in range(2):
        outcome = response_parser.parse(body)
        assert outcome == parse(body, status_example()[0]["evse_uuid"])
        assert isinstance(outcome, Reading)
        assert outcome.fingerprint is None


def test_repeated_response_has_the_notes_of_the_first() -> None:
    response_parser = ResponseParser(status_example()[0]["evse_uuid"])
    first = response_parser.parse(_body(unknown=1, status="rebooting", time=_TIMES[0]))
    repeat = response_parser.parse(_body(unknown=1, status="rebooting", time=_TIMES[1]))
    assert isinstance(first, Reading)
    assert isinstance(repeat, Repeat)
    assert repeat.notes == first.notes
    assert len(first.notes) > 1


@pytest.mark.parametrize("changes", [{"power": 1.5}, {"status": "offline"}, {"plug_label": "Other"}])
def test_changed_response_is_validated(changes: dict[str, Any]) -> None:
    response_parser = ResponseParser(status_example()[0]["evse_uuid"])
    response_parser.parse(_body())
    assert response_parser.parse(_body(**changes)) == parse(_body(**changes), status_example()[0]["evse_uuid"])
    assert response_parser.parse(_body()) == parse(_body(), status_example()[0]["evse_uuid"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'[{"plug_uuid": "p", "\\u0074ime": "T"}]', b'[{"plug_uuid": "p", "\\u0074ime": "U"}]'),
        (
            b'[{"plug_uuid": "p", "\\u0074ime": "T", "time": "T"}]',
            b'[{"plug_uuid": "p", "\\u0074ime": "T", "time": "U"}]',
        ),
        (
            b'[{"plug_uuid": "p", "time": "U", "\\u0074ime": "T"}]',
            b'[{"plug_uuid": "p", "time": "T", "\\u0074ime": "T"}]',
        ),
        (
            b'[{"plug_uuid": "p", "time": "T", "time": "2024-03-25T11:12:17.851\\u005a"}]',
            b'[{"plug_uuid": "p", "time": "U", "time": "2024-03-25T11:12:17.851\\u005a"}]',
        ),
        (b'[{"plug_uuid": "p", "time": "T", "time": "T"}]', b'[{"plug_uuid": "p", "time": "U", "time": "T"}]'),
        (
            b'[{"plug_uuid": "p", "time": "T"}, {"plug_uuid": "q"}]',
            b'[{"plug_uuid": "p"}, {"plug_uuid": "q", "time": "T"}]',
        ),
        (b'[{"plug_uuid": "p", "x\\"time": "T"}]', b'[{"plug_uuid": "p", "x\\"time": "U"}]'),
    ],
)
def test_hidden_times_are_those_of_the_response(first: bytes, second: bytes) -> None:
    response_parser = ResponseParser(_EVSE)
    for text in (first, second, first):
        body = text.replace(b'"T"', f'"{_TIMES[0]}"'.encode()).replace(b'"U"', b'"2025-01-01T00:00:00Z"')
        assert response_parser.parse(body) == parse(body, _EVSE)
