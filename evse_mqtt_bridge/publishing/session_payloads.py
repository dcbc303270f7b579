"""The payloads that describe sessions: `session`, `last_session` and `session_event`."""

import json
from datetime import UTC, datetime

from evse_mqtt_bridge.domain.sessions import Session, SessionChange
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.publishing.payloads import json_payload, json_text, timestamp

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
    started = timestamp(session.started)
    identifier = f"{plug_uuid}-{started[:19].replace('-', '').replace(':', '')}Z"
    return (
        f'"id":{json_text(identifier)},'
        f'"started":"{started}",'
        f'"started_known":{json_text(session.is_start_known)},'
        f'"ended":{json_text(session.ended)},'
        f'"energy":{json_text(kilowatt_hours(session.charged))},'
        f'"energy_discharged":{json_text(kilowatt_hours(session.discharged))},'
        f'"gap":{round(session.gap)},'
        f'"connected":{round(session.connected_until(until or session.started))},'
        f'"charging":{round(session.charging)},'
        f'"peak_power":{json_text(session.peak)}'
    )


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_KEYS = json.loads(session_text("", Session(_ANY_TIME, is_start_known=True), _ANY_TIME))

NO_SESSION = json_payload(dict.fromkeys(_KEYS)).decode()
"""The payload of `session` while no vehicle is connected, as text."""
