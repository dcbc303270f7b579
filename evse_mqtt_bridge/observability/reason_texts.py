"""The texts that explain the availability of stations and plugs on the status page and in the terminal."""

from collections.abc import Mapping
from types import MappingProxyType

from evse_mqtt_bridge.domain.model import Reason

__all__ = ["REASON_TEXTS", "WAITING_TEXT", "reason_text"]

WAITING_TEXT = "has not answered yet"
"""For a station or a plug that has no reason yet."""

REASON_TEXTS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.ONLINE: "online",
        Reason.UNREACHABLE: "the cloud does not answer",
        Reason.SERVER_ERROR: "the cloud answers with an error",
        Reason.RATE_LIMITED: "the cloud limits the request rate",
        Reason.UNAUTHORIZED: "the cloud rejects the token",
        Reason.NOT_FOUND: "the cloud does not know the station",
        Reason.INVALID_RESPONSE: "the response is invalid",
        Reason.OFFLINE: "the plug is offline",
        Reason.CLOUD_OFFLINE: "the cloud has no connection to the plug",
        Reason.STALE: "the measurement is too old",
        Reason.MISSING: "the response does not list the plug",
    }
)
"""Why a station or a plug is, or is not, available."""


def reason_text(reason: Reason | None) -> str:
    """Return why a station or a plug is, or is not, available; `None`: no reason yet."""
    return WAITING_TEXT if reason is None else REASON_TEXTS[reason]
