"""What members do that cannot work together as usual."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.fleet.conflicts import Conflict
from tests.fleet.fleets import (
    BEAT,
    TTL,
    VirtualMember,
    record,
    steady_fleet,
)


def test_other_configuration_stops_balance_and_clearing() -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.join("m3")
    fleet.change("m3", digest="other")
    fleet.run(120)
    assert fleet.moves == 0
    assert {member.last.conflict for member in fleet.members.values()} == {Conflict.DIFFERENT_CONFIGURATIONS}
    assert not any(member.last.may_clear for member in fleet.members.values())
    fleet.change("m3", digest="d")
    fleet.run(120)
    fleet.assert_divided()
    assert all(member.last.may_clear for member in fleet.members.values())


def test_lost_shards_are_claimed_by_another_configuration() -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.change("m2", digest="other")
    fleet.kill("m1")
    fleet.run(60)
    fleet.assert_divided()


def test_loss_of_the_newer_configuration_clears_nothing() -> None:
    """The others do not know the stations that it added; they clear again when a member begins to use their file."""
    fleet = steady_fleet("m1", "m2", "m3")
    fleet.change("m1", digest="newer")
    fleet.run(2 * BEAT)
    fleet.kill("m1")
    fleet.run(120)
    fleet.assert_divided()
    others = [fleet.members["m2"], fleet.members["m3"]]
    assert {member.last.conflict for member in others} == {Conflict.OUTDATED_CONFIGURATION}
    assert not any(member.last.may_clear for member in others)
    fleet.join("m1", instance=2)
    fleet.run(2 * BEAT)
    assert all(member.last.may_clear for member in others)


@pytest.mark.parametrize("is_emptied", [False, True])
def test_loss_of_an_older_configuration_allows_clearing(is_emptied: bool) -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.change("m1", digest="newer")
    fleet.run(2 * BEAT)
    if is_emptied:
        fleet.engine.empty()
        fleet.run(2 * BEAT)
    assert not fleet.members["m1"].last.may_clear
    fleet.kill("m2")
    fleet.run(TTL + 2 * BEAT)
    assert fleet.members["m1"].last.may_clear


def test_other_number_of_shards_excludes_a_new_member() -> None:
    fleet = steady_fleet("m1", "m2")
    before = fleet.running
    fleet.shards = 4
    fleet.join("m3")
    fleet.run(120)
    assert fleet.running == {**before, "m3": 0}
    assert fleet.members["m1"].last.conflict is Conflict.DIFFERENT_SHARDS
    assert not fleet.members["m1"].last.may_clear


def test_second_process_with_the_same_name_waits() -> None:
    fleet = steady_fleet("m1")
    second = VirtualMember(fleet.engine, replace(record("m1"), instance="m1-2"))
    second.beat(fleet.now)
    assert second.last.conflict is Conflict.NAME_IN_USE
    assert second.last.actions == ()
    fleet.run(BEAT)
    fleet.assert_divided()


def test_name_that_another_process_got_drops_everything() -> None:
    fleet = steady_fleet("m1")
    fleet.engine.remove("m1")
    fleet.engine.beat(replace(record("m1"), instance="m1-2"), fleet.now)
    fleet.run(BEAT)
    assert fleet.running == {"m1": 0}
    assert len(fleet.members["m1"].lost) == 16
