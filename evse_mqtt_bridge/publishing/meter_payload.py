"""Writes meters as records of the history, and reads the meter of a previous run, from its record or retained topics.

The topics have kWh with three decimals, so a restart changes a count by at most half a watt-hour. A record of the
history has everything without rounding.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from evse_mqtt_bridge.domain.energy import has_plausible_power
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.publishing.payloads import json_object, json_payload, timestamp

__all__ = ["last_session_of_topic", "meter_of_state", "meter_payload", "read_meter"]

_LARGEST = 1e12
"""Upper bound of a count; a larger one is not from a meter."""


def meter_payload(meter: Meter) -> bytes:
    """Return the record of a meter."""
    counted = meter.counted
    content = {
        "charged": meter.charged,
        "discharged": meter.discharged,
        "gap": meter.gap,
        "counted": {
            "time": timestamp(counted.time) if counted.time else None,
            "status": counted.status,
            "power": counted.power,
        }
        if counted
        else None,
        "interrupted": meter.is_interrupted,
        "session": _session(meter.session),
        "last_session": _session(meter.last_session),
    }
    return json_payload(content)


def read_meter(plug_uuid: str, payload: bytes) -> Meter | None:
    """Return the meter in a record; `None` if it is not a record that `meter_payload` can have written.

    Args:
        plug_uuid: The plug of the record.
        payload: The record.
    """
    content = json_object(payload)
    try:
        counted = content["counted"]
        reading = None
        if isinstance(counted, dict):
            power = None if counted["power"] is None else _number(counted["power"], signed=True)
            status = counted["status"]
            if not isinstance(status, str | None):
                return None
            reading = PlugReading(plug_uuid, status=status, power=power, time=_time(counted["time"]))
        return Meter(
            charged=_number(content["charged"]),
            discharged=_number(content["discharged"]),
            gap=_number(content["gap"]),
            counted=reading,
            is_interrupted=content["interrupted"] is True,
            session=_read_session(content["session"], is_open=True),
            last_session=_read_session(content["last_session"], is_open=False),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def last_session_of_topic(payload: bytes) -> Session | None:
    """Return the session in a retained `last_session`; `None` if it has none, or none that the bridge can have written.

    Args:
        payload: The payload of the topic.
    """
    try:
        session = _session_of_topic(json_object(payload))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return session if session is not None and session.ended is not None else None


def meter_of_state(plug_uuid: str, payload: bytes) -> Meter | None:
    """Return the meter in a retained `state`; `None` if it has none, or if the bridge cannot have published it.

    Args:
        plug_uuid: The plug of the topic.
        payload: The payload of the topic.
    """
    content = json_object(payload)
    try:
        if content["energy_time"] is None:
            return None
        time, is_available = _time(content["energy_time"]), content["availability"] == "online"
        status, power = content["status"], content["power"]
        if not isinstance(status, str | None):
            return None
        power = _number(power, signed=True) if power is not None and _is_counted(plug_uuid, content, time) else None
        return Meter(
            charged=1000 * _number(content["energy"]),
            discharged=1000 * _number(content["energy_discharged"]),
            gap=_number(content["energy_gap"]),
            counted=PlugReading(plug_uuid, status=status, power=power, time=time),
            is_interrupted=not is_available,
            session=_session_of_topic(content["session"], is_charging=content["charging"] is True),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _is_counted(plug_uuid: str, content: Mapping[str, Any], counted: datetime) -> bool:
    """Return whether a `state` has the power of the last counted measurement.

    A full republish shows a later measurement with the counts that were published last. It has the same power, because
    another one is published together with its counts; unless it is not counted, such as an implausible one.
    """
    if content["time"] is None or (time := _time(content["time"])) < counted:
        return False
    limit = content["dyn_current_limit"]
    reading = PlugReading(plug_uuid, power=content["power"], dyn_current_limit=limit)
    return time == counted or (content["availability"] == "online" and has_plausible_power(reading))


def _session_of_topic(content: object, *, is_charging: bool = False) -> Session | None:
    if content is None:
        return None
    if not isinstance(content, Mapping):
        raise TypeError("not a session")
    if content["started"] is None:
        return None
    return Session(
        started=_time(content["started"]),
        is_start_known=content["started_known"] is True,
        charged=1000 * _number(content["energy"]),
        discharged=1000 * _number(content["energy_discharged"]),
        gap=_number(content["gap"]),
        charging=_number(content["charging"]),
        peak=_number(content["peak_power"]),
        is_charging=is_charging,
        ended=None if content["ended"] is None else _time(content["ended"]),
    )


def _session(session: Session | None) -> dict[str, object] | None:
    if session is None:
        return None
    return {
        "started": timestamp(session.started),
        "started_known": session.is_start_known,
        "charged": session.charged,
        "discharged": session.discharged,
        "gap": session.gap,
        "charging": session.charging,
        "peak": session.peak,
        "is_charging": session.is_charging,
        "ended": timestamp(session.ended) if session.ended else None,
    }


def _read_session(content: object, *, is_open: bool) -> Session | None:
    if content is None:
        return None
    if not isinstance(content, Mapping):
        raise TypeError("not a session")
    ended = None if content["ended"] is None else _time(content["ended"])
    if (ended is None) is not is_open:
        raise ValueError("an open session has no end, and any other has one")
    return Session(
        started=_time(content["started"]),
        is_start_known=content["started_known"] is True,
        charged=_number(content["charged"]),
        discharged=_number(content["discharged"]),
        gap=_number(content["gap"]),
        charging=_number(content["charging"]),
        peak=_number(content["peak"]),
        is_charging=content["is_charging"] is True,
        ended=ended,
    )


def _number(value: object, *, signed: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > _LARGEST or (number < 0 and not signed):
        raise ValueError("out of range")
    return number


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(cast("str", value))
    if time.tzinfo is None:
        raise ValueError("without a time zone")
    return time.astimezone(UTC)
