"""The queue of due times, compared with a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.polling.due_queue import SLOT, DueQueue

_dues = st.one_of(
    st.integers(-3, 12).map(lambda slots: slots * SLOT),
    st.floats(-1, 1),
    st.floats(-1e6, 1e6),
)


@given(st.lists(st.one_of(_dues, st.none())))
def test_queue_returns_entries_like_a_sorted_list(steps: list[float | None]) -> None:
    queue, expected = DueQueue(), list[tuple[float, int, str]]()
    for serial, due in enumerate(steps):
        if due is not None:
            entry = (due, serial, "key")
            expected.append(entry)
            expected.sort()
            assert queue.put(entry) is (expected[0] is entry)
        elif expected:
            assert queue.first() is expected.pop(0)
            queue.pop()
        assert queue.size == len(expected)
        assert queue.first() == (expected[0] if expected else None)
