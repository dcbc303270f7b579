"""How the members share the shards, each rule with the situation that it is for."""

from itertools import pairwise

from tests.fleet.fleets import (
    BEAT,
    GRACE,
    STABILITY,
    TIMING,
    TTL,
    MemoryEngine,
    VirtualFleet,
    VirtualMember,
    record,
    steady_fleet,
)


def test_first_members_share_all_shards_without_a_move() -> None:
    fleet = VirtualFleet("m1", "m2", "m3")
    fleet.run(GRACE + 2 * BEAT)
    fleet.assert_divided()
    assert fleet.moves == 0


def test_single_shard_has_one_holder_and_stays() -> None:
    fleet = VirtualFleet("m1", "m2", shards=1)
    fleet.run(20 * STABILITY)
    assert sorted(fleet.running.values()) == [0, 1]
    assert fleet.moves == 0


def test_lost_member_is_replaced_and_nothing_else_moves() -> None:
    fleet = steady_fleet("m1", "m2", "m3")
    before = {name: set(fleet.members[name].running) for name in ("m1", "m2")}
    fleet.kill("m3")
    fleet.run(TTL + GRACE + 3 * BEAT)
    fleet.assert_divided()
    assert all(shards <= fleet.members[name].running for name, shards in before.items())
    assert fleet.moves == 0


def test_lost_member_is_replaced_within_22_seconds() -> None:
    """At most the ttl, the grace, and a beat each to see it free first and to claim it."""
    fleet = steady_fleet("m1", "m2")
    fleet.kill("m2")
    killed = fleet.now
    fleet.run(60)
    assert max(at for at, _ in fleet.members["m1"].begun) - killed <= TTL + GRACE + 2 * BEAT <= 22


def test_new_member_gets_its_share_one_by_one() -> None:
    fleet = steady_fleet("m1", "m2")
    fleet.join("m3")
    fleet.run(STABILITY - 1)
    assert fleet.running["m3"] == 0
    fleet.run(30 * BEAT)
    fleet.assert_divided()
    given = sorted(at for name in ("m1", "m2") for at, _ in fleet.members[name].given)
    assert len(given) == 5  # of 8 and 8 to 6, 5 and 5: no move in vain
    assert all(after > before for before, after in pairwise(given))


def test_member_that_crashes_often_gets_nothing() -> None:
    fleet = steady_fleet("m1", "m2")
    for instance in range(2, 8):
        fleet.join("m3", instance=instance)
        fleet.run(20)
        assert fleet.running["m3"] == 0
        fleet.kill("m3")
    assert fleet.moves == 0


def test_new_members_get_shards_if_no_other_is_left() -> None:
    fleet = steady_fleet("m1")
    fleet.kill("m1")
    fleet.join("m2")
    fleet.run(TTL + GRACE + 3 * BEAT)
    fleet.assert_divided()


def test_free_shard_that_nobody_claims_is_rescued() -> None:
    """m2 keeps its registration, but does not claim what it should."""
    engine = MemoryEngine()
    member = VirtualMember(engine, record("m1", shards=2))
    now = 0.0
    while now <= TIMING.rescue + BEAT:
        engine.beat(record("m2", shards=2), now)
        member.beat(now)
        now += BEAT
    assert member.running == {0, 1}
