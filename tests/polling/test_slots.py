"""The shares of the groups of stations, whatever number of requests hangs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import Failure, Reason, StationState
from evse_mqtt_bridge.polling.slots import Group, Slots, group_of

_FAILED = Failure(Reason.UNREACHABLE)
_OTHERS: list[Group] = [group for group in Group if group is not Group.ANSWERING]


@pytest.mark.parametrize(
    ("state", "group"),
    [
        (StationState(Reason.ONLINE), Group.ANSWERING),
        (StationState(Reason.ONLINE, 1, {}, _FAILED), Group.DOUBTFUL),
        (StationState(None, 1, {}, _FAILED), Group.DOUBTFUL),
        (StationState(Reason.ONLINE, 2, {}, _FAILED), Group.SUSPECT),
        (StationState(None, 2, {}, _FAILED), Group.SUSPECT),
        (StationState(Reason.UNREACHABLE, 3, {}, _FAILED), Group.UNAVAILABLE),
        (StationState(Reason.UNAUTHORIZED, 1, {}, _FAILED), Group.UNAVAILABLE),
    ],
)
def test_group_of_state_after_a_poll(state: StationState, group: Group) -> None:
    assert group_of(state) is group


def _started(slots: Slots, groups: list[Group]) -> list[Group]:
    """Start requests of these groups in turn, as long as there is room, and return those that started."""
    started = []
    for group in groups:
        if slots.has_room(group):
            slots.start(group)
            started.append(group)
    return started


@given(st.integers(1, 100), st.lists(st.sampled_from(_OTHERS), max_size=200))
def test_others_leave_a_quarter_to_answering_stations(concurrency: int, groups: list[Group]) -> None:
    slots = Slots(concurrency)
    started = _started(slots, groups + _OTHERS * concurrency)
    assert len(started) == concurrency - concurrency // 4
    assert slots.has_room(Group.ANSWERING)
    assert not any(map(slots.has_room, _OTHERS))


@pytest.mark.parametrize(
    ("concurrency", "new", "doubtful", "unavailable"), [(1, 1, 1, 1), (2, 2, 2, 1), (4, 3, 3, 1), (20, 12, 15, 7)]
)
def test_each_group_has_a_limit(concurrency: int, new: int, doubtful: int, unavailable: int) -> None:
    limits = [
        len(_started(Slots(concurrency), [group] * concurrency))
        for group in (Group.NEW, Group.DOUBTFUL, Group.SUSPECT, Group.UNAVAILABLE)
    ]
    assert limits == [new, doubtful, doubtful, unavailable]


def test_request_frees_its_slot_at_its_end() -> None:
    slots = Slots(20)
    _started(slots, [Group.UNAVAILABLE] * 7 + [Group.NEW] * 8)
    assert not any(map(slots.has_room, _OTHERS))
    assert slots.end(Group.NEW), "another request may start now"
    assert [group for group in _OTHERS if slots.has_room(group)] == [Group.NEW, Group.DOUBTFUL, Group.SUSPECT]
    assert not slots.end(Group.NEW), "it might have started before"
    assert slots.end(Group.UNAVAILABLE)
    assert not slots.end(Group.ANSWERING)


def test_doubtful_stations_have_precedence_up_to_their_share() -> None:
    slots = Slots(20)
    assert not slots.has_precedence(Group.ANSWERING)
    assert not slots.has_precedence(Group.UNAVAILABLE)
    for _ in range(2):
        assert slots.has_precedence(Group.SUSPECT)
        slots.start(Group.SUSPECT)
    assert not slots.has_precedence(Group.SUSPECT)
    assert slots.has_precedence(Group.DOUBTFUL)
