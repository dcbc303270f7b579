"""Sample readings, outcomes and moments for tests of the domain, and hypothesis strategies for them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Attribution, Failure, Outcome, PlugReading, Reading, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES

__all__ = [
    "FAILURES",
    "NOW",
    "PLUGS",
    "at",
    "failure",
    "numeric_values",
    "outcomes",
    "plug_reading",
    "plug_readings",
    "reading",
    "rejection",
]

NOW = datetime(2024, 3, 25, 11, 12, 20, tzinfo=UTC)
PLUGS = ("p1", "p2", "p3")
FAILURES = (
    Reason.UNREACHABLE,
    Reason.SERVER_ERROR,
    Reason.RATE_LIMITED,
    Reason.UNAUTHORIZED,
    Reason.NOT_FOUND,
    Reason.INVALID_RESPONSE,
)


def at(seconds: float) -> Moment:
    """Return the moment `seconds` after `NOW`, at which the monotonic clock shows 1000 s."""
    return Moment(1000.0 + seconds, NOW + timedelta(seconds=seconds))


_CHARGING = PlugReading("p1", label="Plug 1", status="charging", power=7107.0, time=NOW)


def plug_reading(plug: str = "p1", **changed: object) -> PlugReading:
    """Return the reading of a charging plug, measured at `NOW`, with some values changed."""
    return replace(_CHARGING, plug_uuid=plug, **changed)  # type: ignore[arg-type]  # fields of the dataclass


def reading(*plugs: PlugReading, invalid: Iterable[str] = ()) -> Reading:
    """Return the reading of a station with these plugs, by default one that is charging."""
    return Reading(plugs or (plug_reading(),), frozenset(invalid))


def failure(reason: Reason) -> Failure:
    """Return the outcome of a failed poll."""
    return Failure(reason, "something happened")


def rejection(
    reason: Reason = Reason.UNAUTHORIZED,
    attribution: Attribution = Attribution.UNDECIDED,
    *,
    is_from_api: bool = True,
) -> Failure:
    """Return the outcome of a poll that got HTTP 401 or 404, by default as the client reports it."""
    detail = "HTTP 404 Not Found: no such station" if reason is Reason.NOT_FOUND else "HTTP 401 Unauthorized: rejected"
    return Failure(reason, detail, attribution=attribution, is_probed=True, is_from_api=is_from_api)


numeric_values = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 6.0, 10.3, 7107.0, -2300.5, 1e-7, 1e9]),
    st.floats(-1e9, 1e9, allow_nan=False),
)
"""Values of a numeric field."""

_times = st.one_of(st.none(), st.integers(-4000, 4000).map(lambda seconds: NOW + timedelta(milliseconds=250 * seconds)))
_statuses = st.sampled_from([None, "", "rebooting", *STATUSES])
_labels = st.sampled_from([None, "", "Plug 1", "Links\n#+/ü"])


@cache
def plug_readings(plug: str) -> st.SearchStrategy[PlugReading]:
    """Arbitrary readings of one plug. Creating a strategy takes longer than drawing a value from it."""
    return st.builds(
        PlugReading,
        st.just(plug),
        label=_labels,
        status=_statuses,
        power=numeric_values,
        current_l1=numeric_values,
        dyn_current_limit=numeric_values,
        time=_times,
    )


@st.composite
def _readings(draw: st.DrawFn) -> Reading:
    kinds = draw(
        st.lists(st.sampled_from(["valid", "valid", "invalid", "missing"]), min_size=len(PLUGS), max_size=len(PLUGS))
    )
    valid = [plug for plug, kind in zip(PLUGS, kinds, strict=True) if kind == "valid"] or ["p1"]
    invalid = [plug for plug, kind in zip(PLUGS, kinds, strict=True) if kind == "invalid" and plug not in valid]
    return Reading(tuple(draw(plug_readings(plug)) for plug in valid), frozenset(invalid))


outcomes: st.SearchStrategy[Outcome] = st.one_of(_readings(), _readings(), st.sampled_from(FAILURES).map(failure))
"""Arbitrary outcomes of a poll; two in three are readings."""
