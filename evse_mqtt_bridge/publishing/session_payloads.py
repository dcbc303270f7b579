"""The payloads that describe sessions: `session`, `last_session` and `session_event`."""

from datetime import UTC, datetime

from evse_mqtt_bridge.domain.sessions import Session, SessionChange
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.publishing.payloads import json_payload, shortest, timestamp

__all__ = ["NO_SESSION", "session_event_payload", "session_object", "session_payload"]


def session_object(plug_uuid: str, session: Session, until: datetime | None) -> dict[str, object]:
    """Return a session for JSON.

    Args:
        plug_uuid: The plug, which is part of the id.
        session: The session.
        until: The time of the last counted measurement, up to which an open session has lasted; `None`: none yet.
    """
    return {
        "id": f"{plug_uuid}-{session.started:%Y%m%dT%H%M%SZ}",
        "started": timestamp(session.started),
        "started_known": session.is_start_known,
        "ended": timestamp(session.ended) if session.ended else None,
        "energy": shortest(kilowatt_hours(session.charged)),
        "energy_discharged": shortest(kilowatt_hours(session.discharged)),
        "gap": round(session.gap),
        "connected": round(session.connected_until(until or session.started)),
        "charging": round(session.charging),
        "peak_power": shortest(session.peak),
    }


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)

NO_SESSION: dict[str, object] = dict.fromkeys(session_object("", Session(_ANY_TIME, is_start_known=True), _ANY_TIME))
"""The content of `session` while no vehicle is connected."""


def session_payload(plug_uuid: str, session: Session | None, until: datetime | None) -> bytes:
    """Return the payload of `session` or `last_session`; see `session_object`."""
    return json_payload(NO_SESSION if session is None else session_object(plug_uuid, session, until))


def session_event_payload(plug_uuid: str, change: SessionChange, until: datetime | None) -> bytes:
    """Return the payload of `session_event`; `event_type` is the key that Home Assistant expects."""
    return json_payload({"event_type": change.event.value, **session_object(plug_uuid, change.session, until)})
