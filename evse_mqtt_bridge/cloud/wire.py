"""What the vendor answers, from bytes to a Reading: strict about shape, type and identity, tolerant of all else.

An answer is a JSON array of plug objects. Validated whole, in one pass; only an answer that fails so is looked at
object by object, so that one wrong object harms its own plug alone. Unknown statuses and fields pass, absent and null
values are missing values, a number may arrive as a string of its JSON form. NaN, infinities, values beyond any
charging station (a thousand million), other stations' plugs and ids that could not stand in a topic do not pass.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from evse_mqtt_bridge.domain.identifiers import ID
from evse_mqtt_bridge.domain.model import Failure, PlugReading, Reading, Reason
from evse_mqtt_bridge.domain.statuses import UNKNOWN, meaning
from evse_mqtt_bridge.support.text import clean

__all__ = ["parse"]

_Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] | None


@with_config(ConfigDict(extra="allow", strict=True))
class _PlugObject(TypedDict, total=False):
    time: str | None
    plug_uuid: Annotated[str, Field(pattern=f"^{ID.pattern}$")]
    plug_label: str | None
    evse_uuid: str | None
    status: str | None
    current_l1: _Number
    current_l2: _Number
    current_l3: _Number
    power: _Number
    dyn_current_limit: _Number


_OBJECTS = 1024
"""Objects of an answer beyond which it is no station's; all other stations wait while one answer is gone through."""

_ANSWER = TypeAdapter(Annotated[list[_PlugObject], Field(max_length=_OBJECTS)])
_OBJECT = TypeAdapter(_PlugObject)
_KNOWN = frozenset(_PlugObject.__annotations__)
_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?([eE][+-]?\d{1,2})?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)
_MANY = 3


def parse(body: bytes, evse_uuid: str) -> Reading | Failure:
    """The answer of station `evse_uuid`; a Failure where it holds no valid plug of that station."""
    try:
        objects = _ANSWER.validate_json(body)
    except ValidationError:
        return _parse_each(body, evse_uuid)
    try:
        return _reading([_plug(plug, evse_uuid) for plug in objects], (), _notes(objects))
    except ValueError:
        return _parse_each(body, evse_uuid)


def _parse_each(body: bytes, evse_uuid: str) -> Reading | Failure:
    """The same, one object at a time, for an answer that has something wrong or unusual."""
    try:
        answer = _json(body)
    except (ValueError, RecursionError):
        return Failure(Reason.INVALID_RESPONSE, _looks_like(body))
    if isinstance(answer, list) and len(answer) > _OBJECTS:
        return Failure(Reason.INVALID_RESPONSE, f"an array of more than {_OBJECTS} objects, which is no station's")
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        return Failure(Reason.INVALID_RESPONSE, "JSON, but not an array of plug objects")
    plugs: list[PlugReading] = []
    wrong: list[tuple[str, str]] = []
    notes: list[str] = []
    for item in answer:
        notes += _numbers_from_text(item)
        try:
            # Through JSON once more, so that an object is judged by the very rules of the whole answer.
            plug = _OBJECT.validate_json(to_json(item, inf_nan_mode="constants"))
            plugs.append(_plug(plug, evse_uuid))
            notes += _notes([plug])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            wrong.append((_claimed_uuid(item), f"{clean(where)}: {first['msg']}"))
        except ValueError as error:
            wrong.append((_claimed_uuid(item), str(error)))
    notes += [f"plug object {clean(uuid) or 'without plug_uuid'} is wrong: {why}" for uuid, why in wrong]
    return _reading(plugs, (uuid for uuid, _ in wrong), notes)


def _json(body: bytes) -> Any:  # noqa: ANN401  # whatever JSON can be
    """An answer as JSON; also one with a byte order mark, or with half of a character in a text, which becomes a `?`.

    Raises:
        ValueError, RecursionError: it is none.
    """
    try:
        return from_json(body)
    except ValueError:
        text = json.dumps(json.loads(body.decode("utf-8-sig")), ensure_ascii=False)
        return from_json(text.encode(errors="replace"))


def _reading(plugs: list[PlugReading], wrong: Iterable[str], notes: Iterable[str]) -> Reading | Failure:
    notes = tuple(notes)
    if not plugs:
        detail = "; ".join(notes[:_MANY]) or "an empty array, no plug"
        return Failure(Reason.INVALID_RESPONSE, f"no valid plug in the answer: {detail}")
    valid = {plug.plug_uuid: plug for plug in plugs}
    return Reading(tuple(valid.values()), frozenset(uuid for uuid in wrong if uuid and uuid not in valid), notes)


def _plug(plug: _PlugObject, evse_uuid: str) -> PlugReading:
    """The core's value of one object.

    Raises:
        ValueError: it is not of this station, has no id, or its time is no time.
    """
    owner = plug.get("evse_uuid")
    if owner is not None and owner != evse_uuid and _same_id(owner) != _same_id(evse_uuid):
        raise ValueError(f"it belongs to another station, {clean(owner)}")
    if "plug_uuid" not in plug:
        raise ValueError("it has no plug_uuid")
    return PlugReading(
        plug["plug_uuid"],
        plug.get("plug_label"),
        plug.get("status"),
        plug.get("power"),
        plug.get("current_l1"),
        plug.get("current_l2"),
        plug.get("current_l3"),
        plug.get("dyn_current_limit"),
        _time(plug.get("time")),
    )


def _time(text: str | None) -> datetime | None:
    """A measurement time in UTC; one without a zone is UTC, as the API says of all of them."""
    if text is None:
        return None
    if not _TIME.match(text):
        raise ValueError("time: not an ISO 8601 time")
    try:
        time = datetime.fromisoformat(text.upper())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("time: not an ISO 8601 time") from None


def _notes(objects: list[_PlugObject]) -> list[str]:
    """What is new in an answer: fields and statuses that this bridge does not know."""
    notes = []
    for plug in objects:
        if not plug.keys() <= _KNOWN:
            unknown = sorted(plug.keys() - _KNOWN)
            notes += [f"field {clean(name)!r} is not known and was ignored" for name in unknown[:_MANY]]
        status = plug.get("status")
        if status is not None and meaning(status) is UNKNOWN:
            notes.append(f"status {clean(status)!r} is not known and was published as it is")
    return notes


def _numbers_from_text(item: dict[str, Any]) -> list[str]:
    """DuePoll numbers that arrived as strings into numbers, in place, and say which."""
    notes = []
    for name in _NUMBERS:
        value = item.get(name)
        if isinstance(value, str) and _JSON_NUMBER.fullmatch(value):
            item[name] = float(value)
            notes.append(f"{name} arrived as a string and was read as a number")
    return notes


def _claimed_uuid(item: dict[str, Any]) -> str:
    uuid = item.get("plug_uuid")
    return uuid if isinstance(uuid, str) else ""


def _same_id(uuid: str) -> str:
    return uuid.replace("-", "").lower()


def _looks_like(body: bytes) -> str:
    """In words, what an answer is that is not JSON."""
    start = body[:256].lstrip()
    if not start:
        return "an empty answer"
    if start.startswith(b"<"):
        return "HTML or XML instead of JSON"
    return f"not JSON, or cut off ({len(body)} bytes)"
