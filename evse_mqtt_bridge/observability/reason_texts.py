"""What people read instead of the words of the topics; the page and the terminal say the same."""

from collections.abc import Mapping
from types import MappingProxyType

from evse_mqtt_bridge.domain.model import Reason

__all__ = ["REASONS", "WAITING", "why"]

WAITING = "has not answered yet"
"""For a station, or a plug, that has no reason yet."""

REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.ONLINE: "online",
        Reason.UNREACHABLE: "the cloud does not answer",
        Reason.SERVER_ERROR: "the cloud answers with an error",
        Reason.RATE_LIMITED: "the cloud asks to wait",
        Reason.UNAUTHORIZED: "the cloud rejects the token",
        Reason.NOT_FOUND: "the cloud knows no such station",
        Reason.INVALID_RESPONSE: "the answer cannot be used",
        Reason.OFFLINE: "the plug is offline",
        Reason.CLOUD_OFFLINE: "the cloud has lost the plug",
        Reason.STALE: "the measurement is too old",
        Reason.MISSING: "the answer lacks this plug",
    }
)
"""Why a station or a plug is, or is not, available."""


def why(reason: Reason | None) -> str:
    """Why a station or a plug is, or is not, available; `None`: nothing is known yet."""
    return WAITING if reason is None else REASONS[reason]
