"""Parses the vendor's responses into readings: strict about structure, types and ids, tolerant of everything else.

A response is a JSON array of plug objects. It is validated in one pass. Only if that fails is it validated object by
object, so that an invalid object affects only its own plug.

Accepted: unknown statuses and fields; absent and null values, which count as missing; numbers as strings in their JSON
form. Rejected: NaN, infinities, values beyond any charging station (1e9), plugs of other stations, and ids that cannot
be a topic level.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from sys import intern
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from evse_mqtt_bridge.cloud.content import is_empty, is_page
from evse_mqtt_bridge.domain.identifiers import ID
from evse_mqtt_bridge.domain.model import Attribution, Failure, PlugReading, Reading, Reason
from evse_mqtt_bridge.domain.statuses import UNKNOWN, meaning
from evse_mqtt_bridge.support.text import clean

__all__ = ["parse", "parse_time"]

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
"""Maximum number of objects in a response; parsing blocks the event loop, and no station has as many plugs."""

_ANSWER = TypeAdapter(Annotated[list[_PlugObject], Field(max_length=_OBJECTS)])
_OBJECT = TypeAdapter(_PlugObject)
_KNOWN = frozenset(_PlugObject.__annotations__)
_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?([eE][+-]?\d{1,2})?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)
_MAX_NOTES = 3
_NONE: frozenset[str] = frozenset()


def parse(body: bytes, evse_uuid: str) -> Reading | Failure:
    """Return the reading of station `evse_uuid`; a Failure if the response has no valid plug of that station."""
    try:
        objects = _ANSWER.validate_json(body)
    except ValidationError:
        return _parse_each(body, evse_uuid)
    try:
        return _reading([_plug(plug, evse_uuid) for plug in objects], (), _notes(objects))
    except ValueError:
        return _parse_each(body, evse_uuid)


def _parse_each(body: bytes, evse_uuid: str) -> Reading | Failure:
    """Parse a response that is invalid or unusual, one object at a time."""
    try:
        answer = _json(body)
    except (ValueError, RecursionError):
        return _no_json(body)
    if isinstance(answer, list) and len(answer) > _OBJECTS:
        return Failure(Reason.INVALID_RESPONSE, f"an array of more than {_OBJECTS} objects")
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        return Failure(Reason.INVALID_RESPONSE, "JSON, but not an array of plug objects")
    plugs: list[PlugReading] = []
    invalid: list[tuple[str, str]] = []
    notes: list[str] = []
    for item in answer:
        notes += _numbers_from_text(item)
        try:
            # Serialised to JSON, so that the same rules apply as to a complete response.
            plug = _OBJECT.validate_json(to_json(item, inf_nan_mode="constants"))
            plugs.append(_plug(plug, evse_uuid))
            notes += _notes([plug])
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            invalid.append((_claimed_uuid(item), f"{clean(where)}: {first['msg']}"))
        except ValueError as error:
            invalid.append((_claimed_uuid(item), str(error)))
    notes += [f"plug object {clean(uuid) or 'without plug_uuid'} is invalid: {why}" for uuid, why in invalid]
    return _reading(plugs, (uuid for uuid, _ in invalid), notes)


def _json(body: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Return a response as JSON; a byte order mark is skipped, and a lone surrogate in a string becomes `?`.

    Raises:
        ValueError, RecursionError: The body is not JSON.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        return from_json(body)
    except ValueError as error:
        if "recursion limit" in str(error):  # json would go on: since Python 3.14 until it has filled the stack, 8 MiB
            raise
        text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
        return from_json(text.encode(errors="replace"))


def _reading(plugs: list[PlugReading], invalid: Iterable[str], notes: Iterable[str]) -> Reading | Failure:
    notes = tuple(notes)
    if not plugs:
        detail = "; ".join(notes[:_MAX_NOTES]) or "an empty array, no plug"
        return Failure(Reason.INVALID_RESPONSE, f"no valid plug in the response: {detail}")
    valid = {plug.plug_uuid: plug for plug in plugs}
    # Each empty frozenset is an object of 216 bytes, so all readings share one.
    named = frozenset(uuid for uuid in invalid if uuid and uuid not in valid) or _NONE
    return Reading(tuple(valid.values()), named, notes)


def _plug(plug: _PlugObject, evse_uuid: str) -> PlugReading:
    """Return the reading of one object.

    Raises:
        ValueError: The plug belongs to another station, has no id, or has an invalid time.
    """
    owner = plug.get("evse_uuid")
    if owner is not None and owner != evse_uuid and _same_id(owner) != _same_id(evse_uuid):
        raise ValueError(f"it belongs to another station, {clean(owner)}")
    if "plug_uuid" not in plug:
        raise ValueError("it has no plug_uuid")
    # Each response has the same texts again, and mostly the same numbers. Interned or shared, they are stored once.
    label, status = plug.get("plug_label"), plug.get("status")
    return PlugReading(
        intern(plug["plug_uuid"]),
        intern(label) if label else label,
        intern(status) if status else status,
        _shared(plug.get("power")),
        _shared(plug.get("current_l1")),
        _shared(plug.get("current_l2")),
        _shared(plug.get("current_l3")),
        _shared(plug.get("dyn_current_limit")),
        parse_time(plug.get("time")),
    )


@lru_cache(maxsize=1024)
def _shared(number: float | None) -> float | None:
    """Return a number that other plugs share: most measure 0, or what their limit is."""
    return number


@lru_cache(maxsize=1)  # mostly the same for all plugs of a response
def parse_time(text: str | None) -> datetime | None:
    """Return a measurement time in UTC; a time without a zone is in UTC, as the API documents.

    Raises:
        ValueError: It is not an ISO 8601 time.
    """
    if text is None:
        return None
    if not _TIME.match(text):
        raise ValueError("time: not an ISO 8601 time")
    try:
        time = datetime.fromisoformat(text.upper())
        if time.tzinfo is UTC:  # as the API documents
            return time
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("time: not an ISO 8601 time") from None


def _notes(objects: list[_PlugObject]) -> list[str]:
    """Return a note for each field and status that this bridge does not know."""
    notes = []
    for plug in objects:
        if not plug.keys() <= _KNOWN:
            unknown = sorted(plug.keys() - _KNOWN)
            notes += [f"field {clean(name)!r} is unknown and was ignored" for name in unknown[:_MAX_NOTES]]
        status = plug.get("status")
        if status is not None and meaning(status) is UNKNOWN:
            notes.append(f"status {clean(status)!r} is unknown and was published unchanged")
    return notes


def _numbers_from_text(item: dict[str, Any]) -> list[str]:
    """Convert numbers that arrived as strings, in place, and return a note for each."""
    notes = []
    for name in _NUMBERS:
        value = item.get(name)
        if isinstance(value, str) and _JSON_NUMBER.fullmatch(value):
            item[name] = float(value)
            notes.append(f"{name} arrived as a string and was converted to a number")
    return notes


def _claimed_uuid(item: dict[str, Any]) -> str:
    uuid = item.get("plug_uuid")
    return uuid if isinstance(uuid, str) else ""


def _same_id(uuid: str) -> str:
    return uuid.replace("-", "").lower()


def _no_json(body: bytes) -> Failure:
    """Return the Failure for a response that is not JSON. A page or nothing at all is not the API's response."""
    if is_empty(body) or is_page(body):
        detail = "an empty response" if is_empty(body) else "HTML or XML instead of JSON"
        return Failure(Reason.INVALID_RESPONSE, detail, attribution=Attribution.UNDECIDED, is_from_api=False)
    return Failure(Reason.INVALID_RESPONSE, f"not JSON, or truncated ({len(body)} bytes)")
