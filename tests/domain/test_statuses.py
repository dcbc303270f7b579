"""The status table says what the contract says, for every word of the vendor's."""

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


@pytest.mark.parametrize(("status", "told"), _CONTRACT.items())
def test_each_status_means_what_the_contract_says(
    status: str, told: tuple[bool | None, bool | None, bool | None, Reason | None]
) -> None:
    got = meaning(status)
    assert (got.charging, got.vehicle_connected, got.problem, got.unavailable) == told
    assert got.description


def test_the_table_has_the_vendors_words_and_no_others() -> None:
    assert STATUSES.keys() == _CONTRACT.keys()


@pytest.mark.parametrize("status", [None, "", "rebooting", "Charging", "charging ", "OFFLINE"])
def test_a_word_that_is_not_in_the_table_tells_nothing(status: str | None) -> None:
    assert meaning(status) is UNKNOWN
    assert (UNKNOWN.charging, UNKNOWN.vehicle_connected, UNKNOWN.problem, UNKNOWN.unavailable) == (
        None,
        None,
        None,
        None,
    )
