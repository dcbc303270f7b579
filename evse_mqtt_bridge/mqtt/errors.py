"""Translates errors of sockets and TLS, and reason codes, into the reason why there is no connection to the broker."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from paho.mqtt.reasoncodes import ReasonCode

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.inbound import Connack, Disconnect
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.tls import LONGEST_ERROR, explain_rejection

__all__ = ["Disconnected", "VersionDoubt", "connect_error", "disconnection", "reason_text", "refusal"]

_TAKEN_OVER = 0x8E
_UNSUPPORTED_VERSION = 0x84
_RETAIN_NOT_SUPPORTED = 0x9A
_QOS_NOT_SUPPORTED = 0x9B
_NO_RETAIN = "the broker does not retain messages, but the bridge publishes retained messages: allow them"
_LOGIN_CODES = frozenset({0x86, 0x87, 0x8A, 0x8C})
"""Bad user name or password, not authorized, banned, bad authentication method (MQTT 5, section 3.2.2.2)."""

_RETURN_CODES: Mapping[int, int] = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""The reason code of MQTT 5 for each return code of MQTT 3.1.1 (section 3.2.2.3).

A broker without MQTT 5 answers a CONNECT of MQTT 5 with return code 1.
"""


class VersionDoubt(Enum):
    """Whether the MQTT version may be the reason why a broker refused a connection."""

    NONE = "no"
    POSSIBLE = "it gave no reason"
    CERTAIN = "yes"


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Why a connection ended or could not be established.

    Attributes:
        reason: The kind of reason.
        detail: The reason as text for the log.
        version_doubt: Whether the MQTT version may be the reason.
        by_broker: Whether the broker closed the connection, rather than the network or the bridge.
        has_cause: Whether `detail` names what the bridge sent before.
    """

    reason: DisconnectReason
    detail: str
    version_doubt: VersionDoubt = VersionDoubt.NONE
    by_broker: bool = False
    has_cause: bool = False


def reason_text(code: int, reason: str = "") -> str:
    """Return a reason code of MQTT 5 as text, with the broker's own text if it sent one.

    A code has the same meaning in each type of packet (MQTT 5, section 2.4), so a name does not depend on the type.
    """
    name = next(iter(ReasonCode.names.get(code, ())), f"reason code 0x{code:02X}")
    return f"{name} ({clean(reason)})" if clean(reason) else name


def disconnection(disconnect: Disconnect) -> Disconnected:
    """Return why the broker ended a connection, by its DISCONNECT (MQTT 5, section 3.14.2.1)."""
    if disconnect.code == _TAKEN_OVER:
        return Disconnected(DisconnectReason.TAKEN_OVER, "another client took over this client id")
    detail = f"the broker closed the connection: {reason_text(disconnect.code, disconnect.reason)}"
    return Disconnected(DisconnectReason.LOST, detail, by_broker=True)


def refusal(connack: Connack) -> Disconnected | None:
    """Return why the broker rejects a connection, or cannot be used; `None` if the bridge can use it."""
    if connack.code == 0:
        return None if connack.retain_available else Disconnected(DisconnectReason.REFUSED, _NO_RETAIN)
    code = _RETURN_CODES.get(connack.code, connack.code)
    detail = reason_text(code, connack.reason)
    if code == _QOS_NOT_SUPPORTED:  # of the will, which is sent before the broker reports what it supports
        return Disconnected(DisconnectReason.REFUSED, f"{detail}: set mqtt.qos = 0")
    if code == _UNSUPPORTED_VERSION:
        return Disconnected(DisconnectReason.REFUSED, f"{detail}: set mqtt.protocol", VersionDoubt.CERTAIN)
    if code == _RETAIN_NOT_SUPPORTED:
        return Disconnected(DisconnectReason.REFUSED, _NO_RETAIN)
    return Disconnected(DisconnectReason.LOGIN if code in _LOGIN_CODES else DisconnectReason.REFUSED, detail)


def connect_error(error: Exception) -> Disconnected:
    """Return why connecting failed; `error` is an OSError (ssl.SSLError included) or a ValueError."""
    match error:
        case ssl.SSLCertVerificationError():
            reason = explain_rejection(clean(error.verify_message, LONGEST_ERROR), "mqtt.tls")
            return Disconnected(DisconnectReason.TLS, f"the broker's certificate was rejected: {reason}")
        case ssl.SSLError():
            return Disconnected(DisconnectReason.TLS, clean(getattr(error, "reason", None) or str(error)))
        case socket.gaierror() | UnicodeError():  # the latter for a label that is empty or too long
            cause = error.strerror if isinstance(error, OSError) else None
            detail = f"name not resolved: {clean(cause or 'no such host')}"
            return Disconnected(DisconnectReason.UNREACHABLE, detail)
        case TimeoutError():
            return Disconnected(DisconnectReason.UNREACHABLE, "the broker did not answer in time")
        case OSError():
            return Disconnected(DisconnectReason.UNREACHABLE, clean(error.strerror or type(error).__name__))
    return Disconnected(DisconnectReason.REFUSED, clean(str(error), LONGEST_ERROR))
