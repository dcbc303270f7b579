"""Turns the failure of a single poll into the error that ends a command."""

from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.support.errors import BridgeError, EditError, UnavailableError

__all__ = ["poll_error"]

_CLOUD_UNAVAILABLE = frozenset({Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED})


def poll_error(failure: Failure, prefix: str, suffix: str = "") -> BridgeError:
    """Return an UnavailableError if the cloud does not answer properly, else an EditError: it rejects the station."""
    kind = UnavailableError if failure.reason in _CLOUD_UNAVAILABLE else EditError
    return kind(f"{prefix}: {failure.reason}: {failure.detail}{suffix}")
