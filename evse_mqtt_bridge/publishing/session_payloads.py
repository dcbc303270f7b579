"""The payloads that describe sessions: `session`, `last_session` and `session_event`."""

import json
from datetime import UTC, datetime
from functools import lru_cache

from evse_mqtt_bridge.domain.sessions import Session, SessionChange
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.publishing.payloads import json_payload, json_text, number, timestamp

__all__ = ["NO_SESSION", "session_event_payload", "session_text"]


def session_text(plug_uuid: str, session: Session, until: datetime | None) -> str:
    """Return a session as JSON: the payload of `session` and `last_session`.

    Args:
        plug_uuid: The plug, which is part of the id.
        session: The session.
        until: The time of the last counted measurement, up to which an open session has lasted; `None`: none yet.
    """
    return "{" + _members(plug_uuid, session, until) + "}"


def session_event_payload(plug_uuid: str, change: SessionChange, until: datetime | None) -> bytes:
    """Return the payload of `session_event`; `event_type` is the key that Home Assistant expects."""
    members = _members(plug_uuid, change.session, until)
    return f'{{"event_type":{json_text(change.event.value)},{members}}}'.encode(errors="replace")


def _members(plug_uuid: str, session: Session, until: datetime | None) -> str:
    started = session.started
    # A uuid and a time contain nothing that JSON escapes.
    return (
        f'"id":"{plug_uuid}-{_compact(started)}",'
        f'"started":"{timestamp(started)}",'
        f'"started_known":{"true" if session.is_start_known else "false"},'
        f'"ended":{json_text(session.ended)},'
        f'"energy":{number(kilowatt_hours(session.charged))},'
        f'"energy_discharged":{number(kilowatt_hours(session.discharged))},'
        f'"gap":{round(session.gap)},'
        f'"connected":{round(session.connected_until(until or started))},'
        f'"charging":{round(session.charging)},'
        f'"peak_power":{number(session.peak)}'
    )


@lru_cache(maxsize=1024)  # a session is published again and again
def _compact(started: datetime) -> str:
    """Return the start of a session in the short form of ISO 8601, to the second."""
    return timestamp(started)[:19].replace("-", "").replace(":", "") + "Z"


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_KEYS = json.loads(session_text("", Session(_ANY_TIME, is_start_known=True), _ANY_TIME))

NO_SESSION = json_payload(dict.fromkeys(_KEYS)).decode()
"""The payload of `session` while no vehicle is connected, as text."""
