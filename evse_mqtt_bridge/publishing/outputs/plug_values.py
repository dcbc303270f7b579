"""Renders the values of a plug: one message per value that changed, and `state` with all of them as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import PublishedMeter
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason, same_values
from evse_mqtt_bridge.domain.reasons import ONLINE
from evse_mqtt_bridge.domain.sessions import session_changes
from evse_mqtt_bridge.publishing.contract import METER_FIELDS, READING_FIELDS, STATUS_FIELDS
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.payloads import json_text, json_texts, plain, timestamp
from evse_mqtt_bridge.publishing.session_payloads import NO_SESSION, session_event_payload, session_text

__all__ = ["online_or_offline", "plug_state", "plug_values"]

_TIME = "time"
_OF_READING = tuple(field.name for field in READING_FIELDS if field not in STATUS_FIELDS)
_read_reading = attrgetter(*_OF_READING)
"""Reads the values of a reading at once; each topic has the name of its attribute."""
_MEASURED = tuple(name for name in _OF_READING if name != _TIME)
_read_measured = attrgetter(*_MEASURED)
_OF_STATUS = tuple((field.name, field.read) for field in STATUS_FIELDS)
_OF_METER = tuple((field.name, field.read) for field in METER_FIELDS)
_FIELDS_WITH_TOPICS = PublishedMeter._fields.index("counted_until")
"""The number of the fields of a meter that have topics of their own."""

_NO_READING = PlugReading("")
"""All its values are `None`."""

_KEYS_OF_READING = ",".join([f'"{name}":%s' for name in _OF_READING])
_KEYS_OF_METER = ",".join([f'"{name}":%s' for name, _ in _OF_METER])
_STATE = f'{{{_KEYS_OF_READING},%s,{_KEYS_OF_METER},"session":%s,"energy_time":%s,%s}}'
"""The `state` object, in which the members of the status and of the availability are one text each."""


class _MeterTexts(NamedTuple):
    """The texts of a meter, which go into topics of their own and into `state`.

    Attributes:
        uuid: The plug.
        values: The values of `METER_FIELDS`.
        texts: The same as JSON.
        session: The open session as JSON; `null` if there is none.
        until: The time of the last counted measurement; `None` before the first.
    """

    uuid: str
    values: Sequence[object]
    texts: Sequence[str]
    session: str
    until: datetime | None


_NO_METER = _MeterTexts("", (None,) * len(METER_FIELDS), ("null",) * len(METER_FIELDS), "null", None)


def plug_values(prefix: str, before: PlugState | None, plug: PlugState) -> list[Message]:
    """Return the messages with the values that changed; all if `before` is `None`.

    Args:
        prefix: The prefix of the topics of the plug.
        before: The plug as published last.
        plug: The plug now.
    """
    messages: list[Message] = []
    meter, published = plug.last_published_meter, before.last_published_meter if before else None
    has_new_state = before is None or plug.last_published_at != before.last_published_at
    texts = _NO_METER
    if meter is not None and (has_new_state or meter is not published):
        texts = _meter_texts(plug.uuid, meter)
        if published is None or meter[:_FIELDS_WITH_TOPICS] != published[:_FIELDS_WITH_TOPICS]:
            messages += _meter_values(prefix, published, meter, texts)
    new, old = plug.reading, before.reading if before else None
    if new is not None and not same_values(old, new):
        messages += _changed_values(prefix, old or _NO_READING, new)
    if has_new_state:
        if new is not None and new.time is not None and not _shows_time(before, new.time):
            messages.append(Message(prefix + _TIME, timestamp(new.time).encode()))
        if plug.reason is not None:
            messages.append(Message(prefix + "state", _state(plug, texts), JSON))
    return messages


def plug_state(plug: PlugState) -> bytes:
    """Return the `state` object of a plug as JSON; its keys are the names of the plug's other topics."""
    meter = plug.last_published_meter
    return _state(plug, _meter_texts(plug.uuid, meter) if meter else _NO_METER)


def _state(plug: PlugState, meter: _MeterTexts) -> bytes:
    reading = plug.reading or _NO_READING
    texts = (
        *json_texts(_read_reading(reading)),
        _status_members(reading.status),
        *meter.texts,
        meter.session,
        json_text(meter.until),
        _AVAILABILITY[plug.reason],
    )
    return (_STATE % texts).encode()


def online_or_offline(reason: Reason) -> str:
    """Return the payload of `availability` for a reason."""
    return "online" if reason is ONLINE else "offline"


def _availability_members(reason: Reason | None) -> str:
    availability = online_or_offline(reason) if reason else None
    return f'"availability_reason":{json_text(reason)},"availability":{json_text(availability)}'


_AVAILABILITY = {reason: _availability_members(reason) for reason in (None, *Reason)}
"""The members of `state` that depend on nothing but the reason."""


def _meter_texts(uuid: str, meter: PublishedMeter) -> _MeterTexts:
    until = meter.counted_until
    session = session_text(uuid, meter.session, until) if meter.session else "null"
    values = [read(meter) for _, read in _OF_METER]
    return _MeterTexts(uuid, values, json_texts(values), session, until)


@lru_cache(maxsize=64)  # there are few statuses
def _status_members(status: str | None) -> str:
    """Return the members of `state` that depend on nothing but the status."""
    reading = PlugReading("", status=status)
    return ",".join(f'"{field.name}":{json_text(field.read(reading))}' for field in STATUS_FIELDS)


def _meter_values(
    prefix: str, old: PublishedMeter | None, new: PublishedMeter, texts: _MeterTexts
) -> Iterator[Message]:
    uuid, values, texts_of_values, session, until = texts
    for (name, read), value, text in zip(_OF_METER, values, texts_of_values, strict=True):
        if old is None or value != read(old):
            yield Message(prefix + name, text.encode())
    if old is None or new.session is not old.session:
        payload = session if new.session else NO_SESSION
        yield Message(f"{prefix}session", payload.encode(errors="replace"), JSON)
    if old is None or new.last_session is not old.last_session:
        payload = session_text(uuid, new.last_session, until) if new.last_session else NO_SESSION
        yield Message(f"{prefix}last_session", payload.encode(errors="replace"), JSON)
    if old is not None:
        for change in session_changes((old.session, old.last_session), (new.session, new.last_session)):
            yield Message(f"{prefix}session_event", session_event_payload(uuid, change, until), JSON, retain=False)


def _changed_values(prefix: str, old: PlugReading, new: PlugReading) -> Iterator[Message]:
    for name, value, last in zip(_MEASURED, _read_measured(new), _read_measured(old), strict=True):
        if value != last and value is not None and value != "":
            yield Message(prefix + name, plain(value).encode())
    if new.status != old.status:
        for name, read in _OF_STATUS:
            value = read(new)
            if value != read(old) and value is not None and value != "":
                yield Message(prefix + name, plain(value).encode())


def _shows_time(before: PlugState | None, time: datetime) -> bool:
    """Return whether `time` is the measurement time that was published last, according to `before`."""
    return (
        before is not None and before.reading is not None and time == before.reading.time == before.last_published_time
    )
