"""Parsing of responses: the vendor's example, invalid responses and unusual ones."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Failure, PlugReading, Reading, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES
from tests.harness import plug_object, status_example

_EVSE = "25104c56d7f848af830af4300193efb3"
_FIRST, _SECOND = "6bbf9fd56dc24f9697b078d5d8ccda84", "c99838f9eb5b423d98f8ba33389a255c"
_TIME = datetime(2024, 3, 25, 11, 12, 17, 851_000, UTC)


def _parse(answer: object) -> Reading | Failure:
    return parse(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), _EVSE)


def _read(answer: object) -> Reading:
    outcome = _parse(answer)
    assert isinstance(outcome, Reading), outcome
    return outcome


def test_vendors_example_is_parsed() -> None:
    body = (Path(__file__).parent.parent / "fixtures" / "status-example.json").read_bytes()
    assert parse(body, _EVSE) == Reading(
        (
            PlugReading(_FIRST, "Plug 1", "idle", 0, 0, 0, 0, 6, _TIME),
            PlugReading(_SECOND, "Plug 2", "charging", 7107, 10.3, 10.3, 10.3, 12, _TIME),
        )
    )


# Responses without useful content: the station is unavailable

_USELESS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty response"),
    "blank": (b" \r\n\t ", "an empty response"),
    "html": (b"<!DOCTYPE html><html>Bad gateway</html>", "HTML or XML instead of JSON"),
    "html after blanks": (b"\n\n  <html>", "HTML or XML"),
    "xml": (b"<?xml version='1.0'?>", "HTML or XML"),
    "text": (b"OK", "not JSON"),
    "cut off": (json.dumps(status_example()).encode()[:-10], "truncated"),
    "two answers": (b"[][]", "not JSON"),
    "not utf-8": (b'[{"plug_uuid": "\xff"}]', "not JSON"),
    "utf-16": (json.dumps(status_example()).encode("utf-16"), "not JSON"),
    "nul bytes": (b"\x00" * 100, "not JSON"),
    "gzip": (b"\x1f\x8b\x08\x00", "not JSON"),
    "single quotes": (b"[{'plug_uuid': 'p'}]", "not JSON"),
    "null": (b"null", "not an array of plug objects"),
    "a number": (b"7107", "not an array of plug objects"),
    "a string": (b'"charging"', "not an array of plug objects"),
    "true": (b"true", "not an array of plug objects"),
    "an object": (json.dumps(plug_object()).encode(), "not an array of plug objects"),
    "an error object": (b'{"message": "internal"}', "not an array of plug objects"),
    "an empty object": (b"{}", "not an array of plug objects"),
    "a nested array": (json.dumps([status_example()]).encode(), "not an array of plug objects"),
    "an array of nulls": (b"[null]", "not an array of plug objects"),
    "a number among the objects": (json.dumps([*status_example(), 5]).encode(), "not an array of plug objects"),
    "no plugs": (b"[]", "no plug"),
    "an object without anything": (b"[{}]", "it has no plug_uuid"),
    "another station's plugs": (json.dumps([plug_object(evse_uuid="f" * 32)]).encode(), "belongs to another station"),
    "nested too deep": (b"[" * 100_000, "not JSON"),
    "nested too deep within": (b'[{"plug_uuid": "p", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}]", "not JSON"),
    "a million commas": (b"[" + b"," * 1_000_000, "not JSON"),
    "more objects than any station has": (b"[" + b"{}," * 100_000 + b"{}]", "more than"),
}


@pytest.mark.parametrize(("body", "text"), _USELESS.values(), ids=_USELESS.keys())
def test_invalid_answer_is_a_failure_with_a_reason(body: bytes, text: str) -> None:
    outcome = parse(body, _EVSE)
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.INVALID_RESPONSE
    assert outcome.retry_after is None
    assert text in outcome.detail
    assert outcome.detail.isprintable()
    assert len(outcome.detail) < 600


# Invalid objects: only their plug is affected

_WRONG: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "power is text": ({"power": "much"}, "power: "),
    "power is an empty text": ({"power": ""}, "power: "),
    "power is true": ({"power": True}, "power: "),
    "power is an array": ({"power": [7107]}, "power: "),
    "power is an object": ({"power": {"value": 7107}}, "power: "),
    "power is NaN": (b'"power": NaN', "power: "),
    "power is -Infinity": (b'"power": -Infinity', "power: "),
    "power is too large for a float": (b'"power": 1e400', "power: "),
    "power has 400 digits": (b'"power": ' + b"9" * 400, "power: "),
    "power is that of a country": ({"power": 2e9}, "power: "),
    "power is NaN in a text": ({"power": "NaN"}, "power: "),
    "power is in hex": ({"power": "0x10"}, "power: "),
    "power has a unit": ({"power": "7107 W"}, "power: "),
    "power has a comma": ({"power": "10,3"}, "power: "),
    "power has blanks": ({"power": " 7107 "}, "power: "),
    "power is in other digits": ({"power": "७"}, "power: "),
    "a current is text": ({"current_l2": "-"}, "current_l2: "),
    "the limit is false": ({"dyn_current_limit": False}, "dyn_current_limit: "),
    "status is a number": ({"status": 3}, "status: "),
    "status is an array": ({"status": ["idle"]}, "status: "),
    "label is a number": ({"plug_label": 2}, "plug_label: "),
    "time is a number": ({"time": 1711365137}, "time: "),
    "time is no time": ({"time": "yesterday"}, "time: not an ISO 8601 time"),
    "time is empty": ({"time": ""}, "time: not an ISO 8601 time"),
    "time is a day": ({"time": "2024-03-25"}, "time: not an ISO 8601 time"),
    "time is the 13th month": ({"time": "2024-13-25T11:12:17Z"}, "time: not an ISO 8601 time"),
    "time is before all time": ({"time": "0001-01-01T00:00:00+23:59"}, "time: not an ISO 8601 time"),
    "time is after all time": ({"time": "9999-12-31T23:59:59-23:59"}, "time: not an ISO 8601 time"),
    "time has more after it": ({"time": "2024-03-25T11:12:17Z; DROP"}, "time: not an ISO 8601 time"),
    "another station": ({"evse_uuid": "f" * 32}, "it belongs to another station"),
    "no station": ({"evse_uuid": ""}, "it belongs to another station"),
    "the station is a number": ({"evse_uuid": 7}, "evse_uuid: "),
}


@pytest.mark.parametrize(("changed", "text"), _WRONG.values(), ids=_WRONG.keys())
def test_invalid_object_affects_only_its_plug(changed: dict[str, Any] | bytes, text: str) -> None:
    if isinstance(changed, bytes):
        wrong = b'{"plug_uuid": "%s", %s}' % (_SECOND.encode(), changed)
    else:
        wrong = json.dumps(plug_object(**changed)).encode()
    body = b"[" + json.dumps(status_example()[0]).encode() + b"," + wrong + b"]"
    reading = _read(body)
    assert reading.plugs == (PlugReading(_FIRST, "Plug 1", "idle", 0, 0, 0, 0, 6, _TIME),)
    assert reading.invalid == {_SECOND}
    [note] = reading.notes
    assert note.startswith(f"plug object {_SECOND} is invalid: {text}")
    assert note.isprintable()
    alone = parse(b"[" + wrong + b"]", _EVSE)
    assert isinstance(alone, Failure)
    assert "no valid plug in the response" in alone.detail


@pytest.mark.parametrize(
    "uuid", ["", "x" * 65, "a/b", "+", "#", "a b", "a\n", "\x00", "ä", "{{ x }}", "../..", None, 5, []]
)
def test_plug_without_a_valid_id_is_left_out(uuid: object) -> None:
    reading = _read([status_example()[0], plug_object(plug_uuid=uuid)])
    assert [plug.plug_uuid for plug in reading.plugs] == [_FIRST]
    assert len(reading.notes) == 1
    assert reading.notes[0].isprintable()


@pytest.mark.parametrize("uuid", ["p", "P-1_x", "x" * 64, _FIRST.upper()])
def test_unusual_ids_are_accepted(uuid: str) -> None:
    assert [plug.plug_uuid for plug in _read([plug_object(plug_uuid=uuid)]).plugs] == [uuid]


# Unusual but accepted content


def test_absent_and_null_values_are_missing_values() -> None:
    nulls = dict.fromkeys(plug_object(), None) | {"plug_uuid": "p"}
    assert _read([{"plug_uuid": "p"}]) == _read([nulls]) == Reading((PlugReading("p"),))


@pytest.mark.parametrize("name", ["power", "current_l1", "current_l2", "current_l3", "dyn_current_limit"])
@pytest.mark.parametrize(
    ("text", "value"), [("7107.0", 7107), ("-2300.5", -2300.5), ("0", 0), ("-0", 0), ("1e3", 1000), ("10.30", 10.3)]
)
def test_number_as_a_string_is_converted(name: str, text: str, value: float) -> None:
    reading = _read([plug_object(**{name: text})])
    assert getattr(reading.plugs[0], name) == value
    assert reading.notes == (f"{name} arrived as a string and was converted to a number",)


@pytest.mark.parametrize("number", ["7107", "7107.0", "7.107e3", "7107.00000000000000001", "71070E-1"])
def test_number_is_read_in_every_json_form(number: str) -> None:
    assert _read(b'[{"plug_uuid": "p", "power": %s}]' % number.encode()).plugs[0].power == 7107


def test_unknown_fields_and_statuses_give_notes() -> None:
    reading = _read(
        [plug_object(status="rebooting", soc=80, vehicle={"id": [1, None, "x"]}), plug_object(plug_uuid="p")]
    )
    assert reading.plugs[0].status == "rebooting"
    assert reading.notes == (
        "field 'soc' is unknown and was ignored",
        "field 'vehicle' is unknown and was ignored",
        "status 'rebooting' is unknown and was published unchanged",
    )


def test_notes_on_unknown_fields_are_bounded_and_printable() -> None:
    reading = _read([plug_object(**{f"\x1b[31m\nfield {index}" + "x" * 500: None for index in range(1000)})])
    assert 1 <= len(reading.notes) <= 5
    assert all(note.isprintable() and len(note) < 200 for note in reading.notes)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-03-25T11:12:17.851Z", _TIME),
        ("2024-03-25T11:12:17.851z", _TIME),
        ("2024-03-25t11:12:17.851Z", _TIME),
        ("2024-03-25 11:12:17.851Z", _TIME),
        ("2024-03-25T11:12:17.851", _TIME),
        ("2024-03-25T11:12:17.851+00:00", _TIME),
        ("2024-03-25T13:12:17.851+02:00", _TIME),
        ("2024-03-25T11:12:17.851000000Z", _TIME),
        ("2024-03-25T11:12:17Z", _TIME.replace(microsecond=0)),
        ("2024-03-25T11:12Z", _TIME.replace(second=0, microsecond=0)),
        ("2024-03-31T02:30:00+01:00", datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
    ],
)
def test_time_is_read_as_utc(text: str, time: datetime) -> None:
    assert _read([plug_object(time=text)]).plugs[0].time == time


@pytest.mark.parametrize(
    "owner",
    [_EVSE, _EVSE.upper(), "25104c56-d7f8-48af-830a-f4300193efb3", "25104C56-D7F8-48AF-830A-F4300193EFB3", None],
)
def test_uuid_of_the_station_is_accepted_in_every_form(owner: str | None) -> None:
    assert len(_read([plug_object(evse_uuid=owner)]).plugs) == 1


def test_byte_order_mark_is_skipped() -> None:
    assert _read(b"\xef\xbb\xbf" + json.dumps(status_example()).encode()) == _read(status_example())


def test_lone_surrogate_in_a_string_is_replaced() -> None:
    """A server sends one if it truncates a label in the middle of an emoji."""
    half = json.dumps([plug_object(plug_label="Left \ud83d", new="\udc00"), plug_object(plug_uuid="\ud83d")]).encode()
    reading = _read(half)
    assert [(plug.plug_uuid, plug.label, plug.power) for plug in reading.plugs] == [(_SECOND, "Left ?", 7107)]
    assert len(reading.notes) == 2


def test_last_valid_object_of_a_repeated_plug_counts() -> None:
    reading = _read([plug_object(power=1), plug_object(power=2), plug_object(power="wrong")])
    assert [(plug.plug_uuid, plug.power) for plug in reading.plugs] == [(_SECOND, 2)]
    assert reading.invalid == frozenset()


def test_last_value_of_a_repeated_key_counts() -> None:
    for odd in ("", ', "current_l1": "5"'):  # read whole, and object by object
        reading = _read(f'[{{"plug_uuid": "p", "power": 1, "power": 2{odd}}}]'.encode())
        assert reading.plugs[0].power == 2


def test_labels_and_statuses_stay_unchanged() -> None:
    label = "\x00\x1b[31m\r\n+/#{{ x }} ⚡\U0001f50c" + "x" * 10_000
    reading = _read([plug_object(plug_label=label, status=label)])
    assert (reading.plugs[0].label, reading.plugs[0].status) == (label, label)
    assert all(note.isprintable() and len(note) < 200 for note in reading.notes)


# Bounds


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 340_000 + b"{}]",
        b"[" + b"1," * 500_000 + b"1]",
        b"[" + b",".join(b'{"plug_uuid":"!%d"}' % number for number in range(40_000)) + b"]",
        b"[" + b",".join(b'{"plug_uuid":"%d"}' % number for number in range(40_000)) + b"]",
    ],
    ids=["empty objects", "no objects", "wrong plugs", "valid plugs"],
)
def test_answer_with_too_many_objects_is_rejected(body: bytes) -> None:
    """Parsing them one by one would block the event loop for more than a second."""
    text = "an array of more than 1024 objects"
    assert parse(body, _EVSE) == Failure(Reason.INVALID_RESPONSE, text)


def test_answer_with_the_most_plugs_is_parsed() -> None:
    answer = [plug_object(plug_uuid=f"plug-{number}") for number in range(1024)]
    assert len(_read(answer).plugs) == 1024
    assert len(_read([*answer[1:], {}]).plugs) == 1023


@pytest.mark.parametrize("power", [1e9, -1e9])
def test_numbers_up_to_1e9_are_accepted(power: float) -> None:
    assert _read([plug_object(power=power)]).plugs[0].power == power
    beyond = _read([status_example()[0], plug_object(power=power * 1.001)])
    assert beyond.invalid == {_SECOND}


@pytest.mark.parametrize("literal", [b"9" * 400, b"[" * 150 + b"]" * 150, b"NaN", b'"\\u0000"'])
def test_invalid_object_beside_an_ignored_value(literal: bytes) -> None:
    first = json.dumps(status_example()[0]).encode()[:-1] + b', "new": %s}' % literal
    reading = _read(b'[{"plug_uuid": "%s", "power": "x", "new": %s}, %s]' % (_SECOND.encode(), literal, first))
    assert [plug.plug_uuid for plug in reading.plugs] == [_FIRST]
    assert reading.invalid == {_SECOND}


@pytest.mark.parametrize("owner", [_EVSE[:-1], _EVSE[:-1] + "0", _EVSE + " ", _EVSE + "0", "-"])
def test_uuid_similar_to_the_stations_is_rejected(owner: str) -> None:
    reading = _read([status_example()[0], plug_object(evse_uuid=owner)])
    assert [plug.plug_uuid for plug in reading.plugs] == [_FIRST]


@pytest.mark.parametrize("status", STATUSES)
def test_known_statuses_give_no_notes(status: str) -> None:
    assert _read([plug_object(status=status)]).notes == ()


def test_readings_of_several_stations_share_equal_values() -> None:
    """Thousands of stations would otherwise keep an object for each number."""
    answers = [[plug_object(plug_uuid="p1", power=0), plug_object(plug_uuid="p2", power=7107.5)] for _ in range(2)]
    first, second = (_read(answer).plugs for answer in answers)
    for plug, other in zip(first, second, strict=True):
        assert plug.power is other.power
    assert first[0].time is first[1].time
