"""Renders the values of a plug: one message per value that changed, and `state` with all of them as JSON."""

from datetime import datetime

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.model import PlugState, Reason, same_values
from evse_mqtt_bridge.domain.sessions import Session, session_changes
from evse_mqtt_bridge.publishing.contract import METER_FIELDS, READING_FIELDS
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.payloads import json_text, plain, timestamp
from evse_mqtt_bridge.publishing.session_payloads import NO_SESSION, session_event_payload, session_text

__all__ = ["online_or_offline", "plug_state", "plug_values"]

_TIME = "time"
_VALUES = tuple((field.name, field.read) for field in READING_FIELDS if field.name != _TIME)
_METER_VALUES = tuple((field.name, field.read) for field in METER_FIELDS)

_STATE_OF_READING = tuple((f'"{field.name}":', field.read) for field in READING_FIELDS)
_STATE_OF_METER = tuple((f'"{field.name}":', field.read) for field in METER_FIELDS)
"""The keys of `state`, and the functions that read their values."""


def plug_values(prefix: str, before: PlugState | None, plug: PlugState) -> list[Message]:
    """Return the messages with the values that changed; all if `before` is `None`.

    Args:
        prefix: The prefix of the topics of the plug.
        before: The plug as published last.
        plug: The plug now.
    """
    messages: list[Message] = []
    meter = plug.last_published_meter
    if meter is not None:
        published = before.last_published_meter if before else None
        if meter is not published:
            _add_meter_values(messages, prefix, plug.uuid, published, meter)
    new, old = plug.reading, before.reading if before else None
    if new is not None and not same_values(old, new):
        for name, read in _VALUES:
            value = read(new)
            if value is not None and value != "" and (old is None or value != read(old)):
                messages.append(Message(prefix + name, plain(value).encode()))
    if before is None or plug.last_published_at != before.last_published_at:
        if new is not None and new.time is not None and not _shows_time(before, new.time):
            messages.append(Message(prefix + _TIME, timestamp(new.time).encode()))
        if plug.reason is not None:
            messages.append(Message(prefix + "state", plug_state(plug), JSON))
    return messages


def plug_state(plug: PlugState) -> bytes:
    """Return the `state` object of a plug as JSON; its keys are the names of the plug's other topics."""
    reading, meter = plug.reading, plug.last_published_meter
    if reading is not None:
        members = [key + json_text(read(reading)) for key, read in _STATE_OF_READING]
    else:
        members = [f"{key}null" for key, _ in _STATE_OF_READING]
    if meter is not None:
        members += [key + json_text(read(meter)) for key, read in _STATE_OF_METER]
        until = _counted_until(meter)
        session = session_text(plug.uuid, meter.session, until) if meter.session else "null"
    else:
        members += [f"{key}null" for key, _ in _STATE_OF_METER]
        until, session = None, "null"
    availability = online_or_offline(plug.reason) if plug.reason else None
    return (
        f'{{{",".join(members)},"session":{session},"energy_time":{json_text(until)},'
        f'"availability_reason":{json_text(plug.reason)},"availability":{json_text(availability)}}}'
    ).encode()


def online_or_offline(reason: Reason) -> str:
    """Return the payload of `availability` for a reason."""
    return "online" if reason is Reason.ONLINE else "offline"


def _add_meter_values(messages: list[Message], prefix: str, uuid: str, old: Meter | None, new: Meter) -> None:
    for name, read in _METER_VALUES:
        value = read(new)
        if value is not None and (old is None or value != read(old)):
            messages.append(Message(prefix + name, plain(value).encode()))
    until = _counted_until(new)
    if old is None or new.session is not old.session:
        messages.append(Message(f"{prefix}session", _session(uuid, new.session, until), JSON))
    if old is None or new.last_session is not old.last_session:
        messages.append(Message(f"{prefix}last_session", _session(uuid, new.last_session, until), JSON))
    if old is not None:
        changes = session_changes((old.session, old.last_session), (new.session, new.last_session))
        messages += (
            Message(f"{prefix}session_event", session_event_payload(uuid, change, until), JSON, retain=False)
            for change in changes
        )


def _counted_until(meter: Meter) -> datetime | None:
    return meter.counted.time if meter.counted else None


def _session(uuid: str, session: Session | None, until: datetime | None) -> bytes:
    return (session_text(uuid, session, until) if session else NO_SESSION).encode(errors="replace")


def _shows_time(before: PlugState | None, time: datetime) -> bool:
    """Return whether `time` is the measurement time that was published last, according to `before`."""
    return (
        before is not None and before.reading is not None and time == before.reading.time == before.last_published_time
    )
