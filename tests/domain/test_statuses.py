"""The status table matches the contract, for every status of the vendor."""

import pytest

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.domain.statuses import STATUSES, UNKNOWN, meaning

# status: charging, vehicle connected, problem, unavailable
_CONTRACT = {
    "charging": (True, True, False, None),
    "recently_started_charging": (True, True, False, None),
    "discharging": (False, True, False, None),
    "connected": (False, True, False, None),
    "idle": (False, False, False, None),
    "error": (None, None, True, None),
    "offline": (None, None, None, Reason.OFFLINE),
    "cloud_offline": (None, None, None, Reason.CLOUD_OFFLINE),
    "init": (None, None, False, None),
    "starting": (None, None, False, None),
    "stopped": (False, None, False, None),
    "producing": (None, None, None, None),
    "unknown": (None, None, None, None),
}


@pytest.mark.parametrize(("status", "flags"), _CONTRACT.items())
def test_meaning_of_known_status_matches_the_contract(
    status: str, flags: tuple[bool | None, bool | None, bool | None, Reason | None]
) -> None:
    actual = meaning(status)
    assert (actual.charging, actual.vehicle_connected, actual.problem, actual.unavailable) == flags
    assert actual.description


def test_statuses_are_those_of_the_vendor() -> None:
    assert STATUSES.keys() == _CONTRACT.keys()


@pytest.mark.parametrize("status", [None, "", "rebooting", "Charging", "charging ", "OFFLINE"])
def test_meaning_of_unknown_status_is_undetermined(status: str | None) -> None:
    assert meaning(status) is UNKNOWN
    assert (UNKNOWN.charging, UNKNOWN.vehicle_connected, UNKNOWN.problem, UNKNOWN.unavailable) == (
        None,
        None,
        None,
        None,
    )
