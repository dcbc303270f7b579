"""Fleets in which anything happens at any time: the members share the shards, and none moves in vain."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.fleets import (
    BEAT,
    STABILITY,
    TTL,
    VirtualFleet,
)

_NAMES = ("m1", "m2", "m3", "m4")

_EVENTS = st.one_of(
    st.tuples(st.just("run"), st.floats(0.1, 25.0)),
    st.tuples(
        st.sampled_from(("kill", "join", "cut", "connect", "unfit", "fit", "drain", "stay")), st.sampled_from(_NAMES)
    ),
    st.tuples(st.sampled_from(("freeze", "thaw", "empty")), st.just("")),
)


def _happen(fleet: VirtualFleet, event: tuple[str, float | str], instance: int) -> None:
    kind, subject = event
    match kind, subject:
        case "run", float(seconds):
            fleet.run(seconds)
        case "freeze" | "thaw", _:
            fleet.engine.is_frozen = kind == "freeze"
        case "empty", _:
            fleet.engine.empty()
        case "join", str(name) if name not in fleet.members:
            fleet.join(name, instance=instance, phase=instance * 0.7 % BEAT + 0.01)
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
    phases=st.lists(st.floats(0.01, BEAT), min_size=4, max_size=4),
    events=st.lists(_EVENTS, max_size=25),
)
def test_any_interleaving_calms_down_to_equal_shares(
    shards: int, phases: list[float], events: list[tuple[str, float | str]]
) -> None:
    fleet = VirtualFleet(shards=shards)
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
    fleet.run(TTL + 2 * STABILITY + 4 * shards * BEAT)
    fleet.assert_divided()
    assert all(member.last.may_clear for member in fleet.members.values())
    before = fleet.moves
    fleet.run(10 * STABILITY)
    assert fleet.moves == before


@settings(max_examples=25, deadline=None)
@given(
    phases=st.lists(st.floats(0.01, BEAT), min_size=2, max_size=5),
    away=st.floats(0.0, 60.0),
    is_emptied=st.booleans(),
)
def test_engine_outage_of_any_length_moves_nothing(phases: list[float], away: float, is_emptied: bool) -> None:
    fleet = VirtualFleet()
    for number, phase in enumerate(phases):
        fleet.join(f"m{number}", phase=phase)
    fleet.run(STABILITY + 20 * BEAT)
    before, moves = fleet.running, fleet.moves
    fleet.engine.is_frozen = True
    fleet.run(away)
    fleet.engine.is_frozen = False
    if is_emptied:
        fleet.engine.empty()
    fleet.run(2 * STABILITY)
    assert (fleet.running, fleet.moves) == (before, moves)


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 5), shards=st.sampled_from((1, 5, 16, 64)))
def test_lost_member_costs_no_move_in_vain(count: int, shards: int) -> None:
    fleet = VirtualFleet(*(f"m{number}" for number in range(count)), shards=shards)
    fleet.run(STABILITY + shards * BEAT)
    fleet.kill("m0")
    moves = fleet.moves
    fleet.run(TTL + STABILITY + shards * BEAT)
    fleet.assert_divided()
    assert fleet.moves == moves
