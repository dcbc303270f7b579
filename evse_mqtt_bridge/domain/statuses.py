"""Maps each status of the API to its meaning.

The bridge publishes the status unchanged, and derives flags from this table. A flag is `None` if the status does not
determine it: the bridge then does not publish the flag, and its last value remains.

- `charging` and `recently_started_charging`: power flows into a connected vehicle.
- `discharging`: power flows out of a connected vehicle, which is not charging.
- `connected`: a vehicle is connected. `idle`: none is connected (the API calls it "waiting for a command").
- `stopped`: not charging; a vehicle may be connected. `starting`, `init`: both flags are undetermined.
- `error`: control is not possible, but the values are current, so the plug stays available.
- `offline`, `cloud_offline`: the values are not current; all flags are undetermined.
- `producing` (PV systems), `unknown` and statuses that the vendor adds: all flags are undetermined.
"""

from dataclasses import dataclass

from evse_mqtt_bridge.domain.reasons import Reason

__all__ = ["STATUSES", "UNKNOWN", "Meaning", "iec_61851", "meaning"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a status; a flag is `None` if the status does not determine it.

    Attributes:
        charging: Power flows into the vehicle.
        vehicle_connected: A vehicle is connected.
        problem: The plug reports an error.
        unavailable: The reason why the plug is unavailable; `None` if it is available.
        description: The meaning as text, for the documentation.
    """

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
    """Return the meaning of `status`; `UNKNOWN` if it is missing or not in the table."""
    return STATUSES.get(status, UNKNOWN) if status is not None else UNKNOWN


_IEC_61851 = {
    "idle": "A",
    "connected": "B",
    "recently_started_charging": "C",
    "charging": "C",
    "discharging": "C",
    "error": "E",
}


def iec_61851(status: str | None) -> str | None:
    """Return the state of the vehicle interface by IEC 61851-1; `None` if the status does not determine it.

    A: no vehicle. B: a vehicle is connected and does not draw power. C: power flows. E: error.
    """
    return _IEC_61851.get(status) if status is not None else None
