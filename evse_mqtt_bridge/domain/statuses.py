"""What each status of the API means.

The vendor's word is published verbatim; this table is what the bridge adds to it. A flag is `None` where the word
does not tell: it is then not published, and keeps the last value that was told.

- `charging` and `recently_started_charging`: power flows into a connected vehicle.
- `discharging`: power flows out of a connected vehicle, so it is connected and not charging.
- `connected`: a vehicle is there; `idle`: none is (the API calls it "waiting for a command").
- `stopped`: no charging; whether the vehicle is still there is not said. `starting`, `init`: neither is said.
- `error`: control is not possible, but the values are live, so the plug stays available.
- `offline`, `cloud_offline`: the values are not live; nothing else is said.
- `producing` (PV systems), `unknown`, and every word that the vendor may add: nothing is said.
"""

from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import Reason

__all__ = ["STATUSES", "UNKNOWN", "Meaning", "meaning"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status tells; `None` where it does not."""

    charging: bool | None = None
    vehicle_connected: bool | None = None
    problem: bool | None = None
    unavailable: Reason | None = None
    description: str = ""


UNKNOWN = Meaning(description="unknown to the bridge; published unchanged")

STATUSES: dict[str, Meaning] = {
    "idle": Meaning(False, False, False, None, "waiting for a command, no vehicle connected"),
    "connected": Meaning(False, True, False, None, "a vehicle is connected but not charging"),
    "starting": Meaning(None, None, False, None, "starting"),
    "recently_started_charging": Meaning(True, True, False, None, "a charging session started recently"),
    "charging": Meaning(True, True, False, None, "a vehicle is being charged"),
    "discharging": Meaning(False, True, False, None, "the vehicle supplies power to the grid"),
    "stopped": Meaning(False, None, False, None, "stopped"),
    "error": Meaning(None, None, True, None, "error state; control is not possible"),
    "init": Meaning(None, None, False, None, "initialising"),
    "offline": Meaning(None, None, None, Reason.OFFLINE, "the station cannot be reached"),
    "cloud_offline": Meaning(None, None, None, Reason.CLOUD_OFFLINE, "the device on site cannot reach the cloud"),
    "producing": Meaning(None, None, None, None, "PV systems only"),
    "unknown": Meaning(None, None, None, None, "unknown"),
}


def meaning(status: str | None) -> Meaning:
    """What `status` tells; `UNKNOWN` for a word that is not in the table, or for none at all."""
    return STATUSES.get(status, UNKNOWN) if status is not None else UNKNOWN
