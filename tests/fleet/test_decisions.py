"""The rules by which members share the shards, each with the situation that it is for."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_mqtt_bridge.fleet.decisions import (
    Allocation,
    Begin,
    Claim,
    Conflict,
    Drop,
    HandOver,
    Renumber,
    ShardState,
    Timing,
)
from evse_mqtt_bridge.fleet.port import Holder, View
from tests.fleet.fleets import TTL, MemoryEngine, VirtualMember, record

_TIMING = Timing.of(TTL)
_BEAT, _GRACE, _STABILITY = _TIMING.beat, _TIMING.grace, _TIMING.stability


class _Fleet:
    """Members of one engine that beat in turn, `beat` seconds apart, each with a phase of its own."""

    def __init__(self, *names: str, shards: int = 16) -> None:
        self.engine = MemoryEngine()
        self.now = 0.0
        self.shards = shards
        self.members: dict[str, VirtualMember] = {}
        self._due: dict[str, float] = {}
        for name in names:
            self.join(name)

    def join(self, name: str, *, phase: float = 0.0, instance: int = 1) -> VirtualMember:
        own = replace(record(name, shards=self.shards), instance=f"{name}-{instance}")
        self.members[name] = VirtualMember(self.engine, own, started=self.now)
        self._due[name] = self.now + (phase or 0.3 * len(self._due))
        return self.members[name]

    def kill(self, name: str) -> None:
        del self.members[name], self._due[name]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and min(self._due.values()) <= end:
            name = min(self._due, key=lambda each: self._due[each])
            self.now = max(self.now, self._due[name])
            self.members[name].beat(self.now)
            self._due[name] = self.now + _BEAT
        self.now = end

    def change(self, name: str, **fields: bool | str) -> None:
        member = self.members[name]
        member.own = replace(member.own, **fields)  # type: ignore[arg-type]

    @property
    def moves(self) -> int:
        return sum(len(member.given) + len(member.lost) for member in self.members.values())

    @property
    def running(self) -> dict[str, int]:
        return {name: len(member.running) for name, member in self.members.items()}

    def assert_divided(self) -> None:
        """Every shard runs exactly once, and the shares of the eligible members differ by one at most."""
        runs = Counter(shard for member in self.members.values() for shard in member.running)
        assert runs == Counter(range(self.shards))
        assert max(self.running.values()) - min(self.running.values()) <= 1


def _steady_fleet(*names: str) -> _Fleet:
    fleet = _Fleet(*names)
    fleet.run(_STABILITY + 2 * _BEAT)
    fleet.assert_divided()
    return fleet


# Shares


def test_first_members_share_all_shards_without_a_move() -> None:
    fleet = _Fleet("m1", "m2", "m3")
    fleet.run(_GRACE + 2 * _BEAT)
    fleet.assert_divided()
    assert fleet.moves == 0


def test_single_shard_has_one_holder_and_stays() -> None:
    fleet = _Fleet("m1", "m2", shards=1)
    fleet.run(20 * _STABILITY)
    assert sorted(fleet.running.values()) == [0, 1]
    assert fleet.moves == 0


def test_lost_member_is_replaced_and_nothing_else_moves() -> None:
    fleet = _steady_fleet("m1", "m2", "m3")
    before = {name: set(fleet.members[name].running) for name in ("m1", "m2")}
    fleet.kill("m3")
    fleet.run(TTL + _GRACE + 3 * _BEAT)
    fleet.assert_divided()
    assert all(shards <= fleet.members[name].running for name, shards in before.items())
    assert fleet.moves == 0


def test_lost_member_is_replaced_within_22_seconds() -> None:
    """At most the ttl, the grace, and a beat each to see it free first and to claim it."""
    fleet = _steady_fleet("m1", "m2")
    fleet.kill("m2")
    killed = fleet.now
    fleet.run(60)
    assert max(at for at, _ in fleet.members["m1"].begun) - killed <= TTL + _GRACE + 2 * _BEAT <= 22


def test_new_member_gets_its_share_one_by_one() -> None:
    fleet = _steady_fleet("m1", "m2")
    fleet.join("m3")
    fleet.run(_STABILITY - 1)
    assert fleet.running["m3"] == 0
    fleet.run(30 * _BEAT)
    fleet.assert_divided()
    given = sorted(at for name in ("m1", "m2") for at, _ in fleet.members[name].given)
    assert len(given) == 5  # of 8 and 8 to 6, 5 and 5: no move in vain
    assert all(after > before for before, after in pairwise(given))


def test_member_that_crashes_often_gets_nothing() -> None:
    fleet = _steady_fleet("m1", "m2")
    for instance in range(2, 8):
        fleet.join("m3", instance=instance)
        fleet.run(20)
        assert fleet.running["m3"] == 0
        fleet.kill("m3")
    assert fleet.moves == 0


def test_new_members_get_shards_if_no_other_is_left() -> None:
    fleet = _steady_fleet("m1")
    fleet.kill("m1")
    fleet.join("m2")
    fleet.run(TTL + _GRACE + 3 * _BEAT)
    fleet.assert_divided()


def test_free_shard_that_nobody_claims_is_rescued() -> None:
    """m2 keeps its registration, but does not claim what it should."""
    engine = MemoryEngine()
    member = VirtualMember(engine, record("m1", shards=2))
    now = 0.0
    while now <= _TIMING.rescue + _BEAT:
        engine.beat(record("m2", shards=2), now)
        member.beat(now)
        now += _BEAT
    assert member.running == {0, 1}


# The engine


def test_engine_that_freezes_causes_no_move() -> None:
    fleet = _steady_fleet("m1", "m2", "m3")
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
    fleet = _steady_fleet("m1", "m2", "m3")
    fleet.engine.is_frozen = away > 0
    fleet.run(away)
    fleet.engine.is_frozen = False
    fleet.engine.empty()
    fleet.run(60)
    fleet.assert_divided()
    assert fleet.moves == 0


def test_engine_frozen_without_grace_would_cause_moves() -> None:
    """The reason for the grace: the first member to ask would get what the others run."""
    fleet = _steady_fleet("m1", "m2", "m3")
    for member in fleet.members.values():
        member.allocation = Allocation(member.name, member.own.instance, 16, replace(_TIMING, grace=0.0))
        member.beat(fleet.now)
    fleet.engine.empty()
    fleet.run(60)
    assert fleet.moves > 0


def test_unanswered_beat_starts_the_grace_again() -> None:
    member = VirtualMember(MemoryEngine(), record("m1", shards=1))
    member.beat(0.0)
    member.allocation.engine_unavailable()
    member.beat(_GRACE)
    assert member.running == set()
    member.beat(2 * _GRACE)
    assert member.running == {0}


def test_member_cut_off_from_the_engine_loses_its_shards() -> None:
    fleet = _steady_fleet("m1", "m2")
    fleet.members["m1"].can_reach = lambda: False
    fleet.run(40)
    assert fleet.running == {"m1": 8, "m2": 16}  # at the broker, m2 has disconnected m1
    fleet.members["m1"].can_reach = lambda: True
    fleet.run(_BEAT)
    assert fleet.running == {"m1": 0, "m2": 16}
    fleet.run(_STABILITY + 10 * _BEAT)
    fleet.assert_divided()


# Hand-over


def test_draining_member_hands_over_in_one_step() -> None:
    fleet = _steady_fleet("m1", "m2", "m3")
    fleet.change("m2", is_draining=True)
    fleet.run(2 * _BEAT)
    assert fleet.running["m2"] == 0
    assert abs(fleet.running["m1"] - fleet.running["m3"]) <= 1
    assert sum(fleet.running.values()) == 16
    fleet.run(60)
    assert fleet.running["m2"] == 0


def test_only_member_keeps_its_shards_while_draining() -> None:
    fleet = _steady_fleet("m1")
    fleet.change("m1", is_draining=True)
    fleet.run(60)
    assert fleet.running == {"m1": 16}


def test_successor_that_is_gone_is_skipped() -> None:
    fleet = _steady_fleet("m1", "m2", "m3")
    member = fleet.members["m1"]
    own = replace(member.own, is_draining=True, is_steady=True)
    decision = member.allocation.on_view(fleet.engine.beat(own, fleet.now), fleet.now)
    moves = [action for action in decision.actions if isinstance(action, HandOver)]
    fleet.engine.remove("m2")
    assert len(moves) == len(member.allocation.states) - fleet.running["m2"] - fleet.running["m3"]
    assert {fleet.engine.pass_on(m.shard, m.claim, m.successors, fleet.now) for m in moves} == {"m3"}


def test_shard_that_was_given_up_is_not_claimed_soon() -> None:
    """The successor may be gone at once, and the shard be free."""
    member = VirtualMember(MemoryEngine(), record("m1", shards=1))
    member.beat(0.0)
    member.beat(_GRACE)
    member.engine.holders.clear()
    member.allocation.handed_over(0, _GRACE)
    times = [_GRACE + number * _BEAT / 2 for number in range(1, 40)]
    first = next(now for now in times if member.beat(now) and member.running)
    assert first >= _GRACE + _TIMING.pause


def test_passed_on_shard_begins_with_its_claim_number() -> None:
    allocation = Allocation("m1", "m1-1", 4, _TIMING)
    view = View("e", {"m1": record("m1", shards=4)}, {2: Holder("m1", 17)})
    assert allocation.on_view(view, 0.0).actions == (Begin(2, 17),)
    assert allocation.claims == {2: 17}


def test_unfit_member_hands_over_after_a_while() -> None:
    fleet = _steady_fleet("m1", "m2")
    fleet.change("m1", is_fit=False)
    fleet.run(_GRACE - 0.5)
    assert fleet.moves == 0
    fleet.run(3 * _BEAT)
    assert fleet.running == {"m1": 0, "m2": 16}


def test_shards_stay_if_all_members_are_unfit() -> None:
    fleet = _steady_fleet("m1", "m2")
    for name in fleet.members:
        fleet.change(name, is_fit=False)
    fleet.run(120)
    assert fleet.moves == 0


# Conflicts


def test_other_configuration_stops_balance_and_clearing() -> None:
    fleet = _steady_fleet("m1", "m2")
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
    fleet = _steady_fleet("m1", "m2")
    fleet.change("m2", digest="other")
    fleet.kill("m1")
    fleet.run(60)
    fleet.assert_divided()


def test_loss_of_the_newer_configuration_clears_nothing() -> None:
    """The others do not know the stations that it added; they clear again when a member begins to use their file."""
    fleet = _steady_fleet("m1", "m2", "m3")
    fleet.change("m1", digest="newer")
    fleet.run(2 * _BEAT)
    fleet.kill("m1")
    fleet.run(120)
    fleet.assert_divided()
    others = [fleet.members["m2"], fleet.members["m3"]]
    assert {member.last.conflict for member in others} == {Conflict.OUTDATED_CONFIGURATION}
    assert not any(member.last.may_clear for member in others)
    fleet.join("m1", instance=2)
    fleet.run(2 * _BEAT)
    assert all(member.last.may_clear for member in others)


@pytest.mark.parametrize("is_emptied", [False, True])
def test_loss_of_an_older_configuration_allows_clearing(is_emptied: bool) -> None:
    fleet = _steady_fleet("m1", "m2")
    fleet.change("m1", digest="newer")
    fleet.run(2 * _BEAT)
    if is_emptied:
        fleet.engine.empty()
        fleet.run(2 * _BEAT)
    assert not fleet.members["m1"].last.may_clear
    fleet.kill("m2")
    fleet.run(TTL + 2 * _BEAT)
    assert fleet.members["m1"].last.may_clear


def test_other_number_of_shards_excludes_a_new_member() -> None:
    fleet = _steady_fleet("m1", "m2")
    before = fleet.running
    fleet.shards = 4
    fleet.join("m3")
    fleet.run(120)
    assert fleet.running == {**before, "m3": 0}
    assert fleet.members["m1"].last.conflict is Conflict.DIFFERENT_SHARDS
    assert not fleet.members["m1"].last.may_clear


def test_second_process_with_the_same_name_waits() -> None:
    fleet = _steady_fleet("m1")
    second = VirtualMember(fleet.engine, replace(record("m1"), instance="m1-2"))
    second.beat(fleet.now)
    assert second.last.conflict is Conflict.NAME_IN_USE
    assert second.last.actions == ()
    fleet.run(_BEAT)
    fleet.assert_divided()


def test_name_that_another_process_got_drops_everything() -> None:
    fleet = _steady_fleet("m1")
    fleet.engine.remove("m1")
    fleet.engine.beat(replace(record("m1"), instance="m1-2"), fleet.now)
    fleet.run(_BEAT)
    assert fleet.running == {"m1": 0}
    assert len(fleet.members["m1"].lost) == 16


# Results and states


def test_lost_claim_drops_a_running_shard() -> None:
    allocation = Allocation("m1", "m1-1", 1, _TIMING)
    allocation.on_view(View("e", {"m1": record("m1", shards=1)}, {0: Holder("m1", 3)}), 0.0)
    empty = View("e", {"m1": record("m1", shards=1)}, {})
    assert allocation.on_view(empty, 1.0).actions == (Claim(0),)
    assert allocation.claimed(0, Holder("m1", 9)) == Renumber(0, 9)
    assert allocation.claimed(0, Holder("m2", 10)) == Drop(0)
    assert allocation.claimed(0, None) is None
    assert allocation.states == {0: ShardState.ELSEWHERE}


def test_claim_number_that_the_engine_changed_is_published() -> None:
    """A claim whose answer was lost may have succeeded."""
    allocation = Allocation("m1", "m1-1", 1, _TIMING)
    members = {"m1": record("m1", shards=1)}
    allocation.on_view(View("e", members, {0: Holder("m1", 3)}), 0.0)
    assert allocation.on_view(View("e", members, {0: Holder("m1", 8)}), 1.0).actions == (Renumber(0, 8),)


@pytest.mark.parametrize(("holder", "actions"), [(Holder("m1", 3), (Begin(0, 3),)), (Holder("m2", 4), ()), (None, ())])
def test_fenced_shard_waits_for_the_engine(holder: Holder | None, actions: tuple[Begin, ...]) -> None:
    allocation = Allocation("m1", "m1-1", 1, _TIMING)
    members = {"m1": record("m1", shards=1)}
    allocation.on_view(View("e", members, {0: Holder("m1", 3)}), 0.0)
    allocation.fenced(0)
    assert allocation.states == {0: ShardState.FENCED}
    assert allocation.claims == {}
    assert allocation.on_view(View("e", members, {0: holder} if holder else {}), 1.0).actions == actions


# All interleavings

_NAMES = ("m1", "m2", "m3", "m4")

_EVENTS = st.one_of(
    st.tuples(st.just("run"), st.floats(0.1, 25.0)),
    st.tuples(
        st.sampled_from(("kill", "join", "cut", "connect", "unfit", "fit", "drain", "stay")), st.sampled_from(_NAMES)
    ),
    st.tuples(st.sampled_from(("freeze", "thaw", "empty")), st.just("")),
)


def _happen(fleet: _Fleet, event: tuple[str, float | str], instance: int) -> None:
    kind, subject = event
    match kind, subject:
        case "run", float(seconds):
            fleet.run(seconds)
        case "freeze" | "thaw", _:
            fleet.engine.is_frozen = kind == "freeze"
        case "empty", _:
            fleet.engine.empty()
        case "join", str(name) if name not in fleet.members:
            fleet.join(name, instance=instance, phase=instance * 0.7 % _BEAT + 0.01)
        case "kill", str(name) if name in fleet.members:
            fleet.kill(name)
        case "cut" | "connect", str(name) if name in fleet.members:
            is_reachable = kind == "connect"
            fleet.members[name].can_reach = lambda: is_reachable
        case "unfit" | "fit", str(name) if name in fleet.members:
            fleet.change(name, is_fit=kind == "fit")
        case "drain" | "stay", str(name) if name in fleet.members:
            fleet.change(name, is_draining=kind == "drain")


@settings(max_examples=50, deadline=None)
@given(
    shards=st.sampled_from((1, 4, 16)),
    phases=st.lists(st.floats(0.01, _BEAT), min_size=4, max_size=4),
    events=st.lists(_EVENTS, max_size=25),
)
def test_any_interleaving_calms_down_to_equal_shares(
    shards: int, phases: list[float], events: list[tuple[str, float | str]]
) -> None:
    fleet = _Fleet(shards=shards)
    for name, phase in zip(_NAMES, phases, strict=True):
        fleet.join(name, phase=phase)
    for instance, event in enumerate(events, start=2):
        _happen(fleet, event, instance)
    fleet.engine.is_frozen = False
    if not fleet.members:
        fleet.join("m1", instance=99)
    for name, member in fleet.members.items():
        member.can_reach = lambda: True
        fleet.change(name, is_fit=True, is_draining=False)
    fleet.run(TTL + 2 * _STABILITY + 4 * shards * _BEAT)
    fleet.assert_divided()
    assert all(member.last.may_clear for member in fleet.members.values())
    before = fleet.moves
    fleet.run(10 * _STABILITY)
    assert fleet.moves == before


@settings(max_examples=25, deadline=None)
@given(
    phases=st.lists(st.floats(0.01, _BEAT), min_size=2, max_size=5),
    away=st.floats(0.0, 60.0),
    is_emptied=st.booleans(),
)
def test_engine_outage_of_any_length_moves_nothing(phases: list[float], away: float, is_emptied: bool) -> None:
    fleet = _Fleet()
    for number, phase in enumerate(phases):
        fleet.join(f"m{number}", phase=phase)
    fleet.run(_STABILITY + 20 * _BEAT)
    before, moves = fleet.running, fleet.moves
    fleet.engine.is_frozen = True
    fleet.run(away)
    fleet.engine.is_frozen = False
    if is_emptied:
        fleet.engine.empty()
    fleet.run(2 * _STABILITY)
    assert (fleet.running, fleet.moves) == (before, moves)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 5), shards=st.sampled_from((1, 5, 16, 64)))
def test_lost_member_costs_no_move_in_vain(count: int, shards: int) -> None:
    fleet = _Fleet(*(f"m{number}" for number in range(count)), shards=shards)
    fleet.run(_STABILITY + shards * _BEAT)
    fleet.kill("m0")
    moves = fleet.moves
    fleet.run(TTL + _STABILITY + shards * _BEAT)
    fleet.assert_divided()
    assert fleet.moves == moves
