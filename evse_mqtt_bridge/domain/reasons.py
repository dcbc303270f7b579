"""The reasons why a station or plug is available or not."""

from enum import StrEnum
from typing import Final

__all__ = ["ONLINE", "PLUG_ONLY_REASONS", "STATION_REASONS", "Reason"]


class Reason(StrEnum):
    """Why a station or plug is available or not, as published in the `availability_reason` topics."""

    ONLINE = "online"
    # of a station
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    # of a station or a plug
    INVALID_RESPONSE = "invalid_response"
    # of a plug
    OFFLINE = "offline"
    CLOUD_OFFLINE = "cloud_offline"
    STALE = "stale"
    MISSING = "missing"


ONLINE: Final = Reason.ONLINE
"""The reason of most plugs; an attribute of an enum takes as long as a call, and each poll compares several times."""

PLUG_ONLY_REASONS = frozenset({Reason.OFFLINE, Reason.CLOUD_OFFLINE, Reason.STALE, Reason.MISSING})
"""Reasons that a plug can have and a station cannot."""

STATION_REASONS = tuple(reason for reason in Reason if reason not in PLUG_ONLY_REASONS)
"""Reasons that a station can have. A plug can have any reason."""
