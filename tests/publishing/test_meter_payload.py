"""The stored forms of a meter: a restart continues from them, loses nothing, and invents nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt, larger, published_meter
from evse_mqtt_bridge.domain.model import PlugState, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.meter_payload import (
    last_session_of_topic,
    meter_of_state,
    meter_payload,
    read_meter,
)
from evse_mqtt_bridge.publishing.outputs.plug_values import plug_state
from evse_mqtt_bridge.publishing.session_payloads import session_text
from tests.harness.samples import NOW, plug_reading

_LONGEST = 90.0
_ROUNDING = 0.51  # Wh, or seconds

_steps = st.tuples(
    st.one_of(st.floats(1, 40), st.sampled_from([90.0, 91.0, 3600.0])),
    st.one_of(st.none(), st.floats(-30_000, 30_000)),
    st.sampled_from([*STATUSES, "rebooting"]),
    st.booleans(),
)
_Steps = Sequence[tuple[float, float | None, str, bool]]


def _fold(steps: _Steps, meter: Meter, seconds: float) -> Meter:
    for step, power, status, is_available in steps:
        seconds += step
        if is_available:
            time = NOW + timedelta(seconds=seconds)
            meter = count(meter, plug_reading(status=status, power=power, time=time), _LONGEST)
        else:
            meter = interrupt(meter)
    return meter


def _from_topics(meter: Meter, **changed: Any) -> Meter | None:  # noqa: ANN401  # of any field
    """Return the meter that the next run reads from the topics of a plug."""
    reason = Reason.UNREACHABLE if meter.is_interrupted else Reason.ONLINE
    reading = replace(meter.counted, **changed) if meter.counted else None
    state = meter_of_state(
        "p1", plug_state(PlugState("p1", reading=reading, reason=reason, last_published_meter=published_meter(meter)))
    )
    if meter.last_session is None or state is None:
        return state
    topic = session_text("p1", meter.last_session, None).encode()
    return larger(state, Meter(last_session=last_session_of_topic(topic)))


@given(st.lists(_steps, min_size=1, max_size=30), st.data())
def test_restart_from_a_record_of_the_history_is_exact(steps: _Steps, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    seconds = sum(step for step, *_ in steps[:cut])
    stored = read_meter("p1", meter_payload(_fold(steps[:cut], Meter(), 0.0)))
    assert stored is not None
    complete, restarted = _fold(steps, Meter(), 0.0), _fold(steps[cut:], stored, seconds)
    assert meter_payload(restarted) == meter_payload(complete)


@given(st.lists(_steps, min_size=1, max_size=30), st.data())
def test_restart_from_topics_is_exact_but_for_rounding(steps: _Steps, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(steps)))
    seconds = sum(step for step, *_ in steps[:cut])
    before = _fold(steps[:cut], Meter(), 0.0)
    stored = _from_topics(before)
    assert (stored is None) == (before.counted is None)
    complete, restarted = _fold(steps, Meter(), 0.0), _fold(steps[cut:], stored or Meter(), seconds)
    for name in ("charged", "discharged", "gap"):
        assert getattr(restarted, name) == pytest.approx(getattr(complete, name), abs=_ROUNDING)
    for name in ("session", "last_session"):
        old, new = getattr(complete, name), getattr(restarted, name)
        assert (old is None) == (new is None)
        if old is not None:
            assert (old.started, old.ended, old.is_start_known) == (new.started, new.ended, new.is_start_known)
            for count_of in ("charged", "discharged", "gap", "charging"):
                assert getattr(new, count_of) == pytest.approx(getattr(old, count_of), abs=_ROUNDING)


def _charging() -> Meter:
    return count(Meter(1000.0), plug_reading(power=7200.0, time=NOW), _LONGEST)


@pytest.mark.parametrize(
    ("changed", "power"),
    [
        ({}, 7200.0),
        ({"time": NOW + timedelta(seconds=30)}, 7200.0),  # published again with the counts that were published last
        ({"time": NOW - timedelta(seconds=30), "power": 9000.0}, None),
        ({"time": NOW + timedelta(seconds=30), "power": 5e6}, None),
        ({"time": None}, None),
    ],
    ids=["counted", "later", "earlier", "impossible", "no time"],
)
def test_power_of_the_last_measurement_is_restored(changed: dict[str, object], power: float | None) -> None:
    meter = _from_topics(_charging(), **changed)
    assert meter is not None
    assert meter.counted is not None
    assert (meter.counted.time, meter.counted.power) == (NOW, power)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("energy", -1),
        ("energy", "1"),
        ("energy", True),
        ("energy", 1e300),
        ("energy_gap", None),
        ("energy_time", "yesterday"),
        ("energy_time", "2026-03-28T22:00:00"),
        ("session", []),
        ("status", 5),
        ("dyn_current_limit", "x"),
        ("power", "x"),
    ],
)
def test_state_that_the_bridge_cannot_have_published_is_ignored(key: str, value: object) -> None:
    plug = PlugState(
        "p1", reading=plug_reading(time=NOW), reason=Reason.ONLINE, last_published_meter=published_meter(_charging())
    )
    content = json.loads(plug_state(plug))
    later = {"time": "2099-01-01T00:00:00.000Z"} if key == "dyn_current_limit" else {}
    assert meter_of_state("p1", json.dumps({**content, **later, key: value}).encode()) is None


def test_state_is_read_back_with_its_time() -> None:
    meter = _from_topics(_charging())
    assert meter is not None
    assert isinstance(meter.counted and meter.counted.time, datetime)
