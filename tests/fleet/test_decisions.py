"""What a member does with a shard: claims, hand-overs, and outages of the engine."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.fleet.actions import Begin, Claim, Drop, HandOver, Renumber
from evse_mqtt_bridge.fleet.decisions import Allocation
from evse_mqtt_bridge.fleet.port import Holder, View
from tests.fleet.fleets import (
    BEAT,
    GRACE,
    STABILITY,
    TIMING,
    MemoryEngine,
    VirtualMember,
    record,
    steady_fleet,
)

# The engine


def test_engine_that_freezes_causes_no_move() -> None:
    fleet = steady_fleet("m1", "m2", "m3")
    before = fleet.running
    fleet.engine.is_frozen = True
    fleet.run(30)
    assert fleet.running == before  # everything runs on
    fleet.engine.is_frozen = False
    fleet.run(60)
    fleet.assert_divided()
    assert (fleet.moves, fleet.running) == (0, before)


@pytest.mark.parametrize("away", [0.0, 30.0])
def test_engine_that_lost_its_data_causes_no_move(away: float) -> None:
    fleet = steady_fleet("m1", "m2", "m3")
    fleet.engine.is_frozen = away > 0
    fleet.run(away)
    fleet.engine.is_frozen = False
    fleet.engine.empty()
    fleet.run(60)
    fleet.assert_divided()
    assert fleet.moves == 0


def test_engine_frozen_without_grace_would_cause_moves() -> None:
    """The reason for the grace: the first member to ask would get what the others run."""
    fleet = steady_fleet("m1", "m2", "m3")
    for member in fleet.members.values():
        member.allocation = Allocation(member.name, member.own.instance, 16, replace(TIMING, grace=0.0))
        member.beat(fleet.now)
    fleet.engine.empty()
    fleet.run(60)
    assert fleet.moves > 0


def test_unanswered_beat_starts_the_grace_again() -> None:
    member = VirtualMember(MemoryEngine(), record("m1", shards=1))
    member.beat(0.0)
    member.allocation.engine_unavailable()
    member.beat(GRACE)
    assert member.running == set()
    member.beat(2 * GRACE)
    assert member.running == {0}


def test_member_cut_off_from_the_engine_loses_its_shards() -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.members["m1"].can_reach = lambda: False
    fleet.run(40)
    assert fleet.running == {"m1": 8, "m2": 16}  # at the broker, m2 has disconnected m1
    fleet.members["m1"].can_reach = lambda: True
    fleet.run(BEAT)
    assert fleet.running == {"m1": 0, "m2": 16}
    fleet.run(STABILITY + 10 * BEAT)
    fleet.assert_divided()


# Hand-over


def test_draining_member_hands_over_in_one_step() -> None:
    fleet = steady_fleet("m1", "m2", "m3")
    fleet.change("m2", is_draining=True)
    fleet.run(2 * BEAT)
    assert fleet.running["m2"] == 0
    assert abs(fleet.running["m1"] - fleet.running["m3"]) <= 1
    assert sum(fleet.running.values()) == 16
    fleet.run(60)
    assert fleet.running["m2"] == 0


def test_only_member_keeps_its_shards_while_draining() -> None:
    fleet = steady_fleet("m1")
    fleet.change("m1", is_draining=True)
    fleet.run(60)
    assert fleet.running == {"m1": 16}


def test_successor_that_is_gone_is_skipped() -> None:
    fleet = steady_fleet("m1", "m2", "m3")
    member = fleet.members["m1"]
    own = replace(member.own, is_draining=True, is_steady=True)
    decision = member.allocation.on_view(fleet.engine.beat(own, fleet.now), fleet.now)
    moves = [action for action in decision.actions if isinstance(action, HandOver)]
    fleet.engine.remove("m2")
    assert len(moves) == fleet.shards - fleet.running["m2"] - fleet.running["m3"]
    assert {fleet.engine.pass_on(m.shard, m.claim, m.successors, fleet.now) for m in moves} == {"m3"}


def test_shard_that_was_given_up_is_not_claimed_soon() -> None:
    """The successor may be gone at once, and the shard be free."""
    member = VirtualMember(MemoryEngine(), record("m1", shards=1))
    member.beat(0.0)
    member.beat(GRACE)
    member.engine.holders.clear()
    member.allocation.handed_over(0, GRACE)
    times = [GRACE + number * BEAT / 2 for number in range(1, 40)]
    first = next(now for now in times if member.beat(now) and member.running)
    assert first >= GRACE + TIMING.abstention


def test_passed_on_shard_begins_with_its_claim_number() -> None:
    allocation = Allocation("m1", "m1-1", 4, TIMING)
    view = View("e", {"m1": record("m1", shards=4)}, {2: Holder("m1", 17)})
    assert allocation.on_view(view, 0.0).actions == (Begin(2, 17),)
    assert allocation.claims == {2: 17}


def test_unfit_member_hands_over_after_a_while() -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.change("m1", is_fit=False)
    fleet.run(GRACE - 0.5)
    assert fleet.moves == 0
    fleet.run(3 * BEAT)
    assert fleet.running == {"m1": 0, "m2": 16}


def test_shards_stay_if_all_members_are_unfit() -> None:
    fleet = steady_fleet("m1", "m2")
    for name in fleet.members:
        fleet.change(name, is_fit=False)
    fleet.run(120)
    assert fleet.moves == 0


# Results and states


def test_lost_claim_drops_a_running_shard() -> None:
    allocation = Allocation("m1", "m1-1", 1, TIMING)
    allocation.on_view(View("e", {"m1": record("m1", shards=1)}, {0: Holder("m1", 3)}), 0.0)
    empty = View("e", {"m1": record("m1", shards=1)}, {})
    assert allocation.on_view(empty, 1.0).actions == (Claim(0),)
    assert allocation.claimed(0, Holder("m1", 9)) == Renumber(0, 9)
    assert allocation.claimed(0, Holder("m2", 10)) == Drop(0)
    assert allocation.claimed(0, None) is None
    assert allocation.claims == {}


def test_claim_number_that_the_engine_changed_is_published() -> None:
    """A claim whose answer was lost may have succeeded."""
    allocation = Allocation("m1", "m1-1", 1, TIMING)
    members = {"m1": record("m1", shards=1)}
    allocation.on_view(View("e", members, {0: Holder("m1", 3)}), 0.0)
    assert allocation.on_view(View("e", members, {0: Holder("m1", 8)}), 1.0).actions == (Renumber(0, 8),)


@pytest.mark.parametrize(("holder", "actions"), [(Holder("m1", 3), (Begin(0, 3),)), (Holder("m2", 4), ()), (None, ())])
def test_fenced_shard_waits_for_the_engine(holder: Holder | None, actions: tuple[Begin, ...]) -> None:
    allocation = Allocation("m1", "m1-1", 1, TIMING)
    members = {"m1": record("m1", shards=1)}
    allocation.on_view(View("e", members, {0: Holder("m1", 3)}), 0.0)
    allocation.fenced(0)
    assert allocation.claims == {}
    assert allocation.on_view(View("e", members, {0: holder} if holder else {}), 1.0).actions == actions
