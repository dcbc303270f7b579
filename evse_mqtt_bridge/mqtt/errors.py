"""Translates errors of sockets, TLS and paho into the reason why there is no connection to the broker."""

import contextlib
import socket
import ssl
from dataclasses import dataclass

from paho.mqtt.reasoncodes import ReasonCode

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.support.text import clean

__all__ = ["Disconnected", "close_sockets_of", "connect_error", "refusal"]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Why a connection ended or could not be established; `detail` is a text for the log."""

    reason: DisconnectReason
    detail: str


def refusal(code: ReasonCode) -> Disconnected:
    """Return why the broker rejected a connection, by the reason code of its CONNACK (MQTT 5, section 3.2.2.2)."""
    detail = clean(str(code))
    if detail == "QoS not supported":  # of the will, which is sent before the broker reports what it supports
        return Disconnected(DisconnectReason.REFUSED, f"{detail}: set mqtt.qos = 0")
    if detail in ("Not authorized", "Bad user name or password", "Banned", "Bad authentication method"):
        return Disconnected(DisconnectReason.LOGIN, detail)
    return Disconnected(DisconnectReason.REFUSED, detail)


def connect_error(error: Exception) -> Disconnected:
    """Return why connecting failed; `error` is an OSError (ssl.SSLError included) or a ValueError."""
    match error:
        case ssl.SSLCertVerificationError():
            return Disconnected(
                DisconnectReason.TLS, f"the broker's certificate was rejected: {clean(error.verify_message)}"
            )
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
    return Disconnected(DisconnectReason.REFUSED, clean(str(error)))


def close_sockets_of(error: BaseException) -> None:
    """Close the sockets of the failed calls: paho leaves a socket whose handshake failed to the garbage collector."""
    trace = error.__traceback__
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            if isinstance(value, socket.socket):
                with contextlib.suppress(AttributeError, OSError):  # a socket that the system refused is half-made
                    value.close()
        trace = trace.tb_next
