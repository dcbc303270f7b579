"""Counts stations and plugs by state, and sums up their measurements.

The aggregates are computed from the states on request, so that they cannot drift. 5,000 stations take milliseconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason, StationState
from evse_mqtt_bridge.domain.repeats import plug_with_repeats
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["PLUG_STATES", "STATION_STATES", "WAITING", "Aggregates", "aggregate"]

WAITING = "waiting"
"""The state of a station or a plug that has no reason yet."""

STATION_STATES = (WAITING, *(reason.value for reason in STATION_REASONS))
"""The states of a station."""

PLUG_STATES = (WAITING, *(reason.value for reason in Reason))
"""The states of a plug."""


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Numbers over all stations.

    Attributes:
        stations: Number of stations in each of `STATION_STATES`.
        plugs: Number of plugs in each of `PLUG_STATES`.
        charging: Number of available plugs that charge a vehicle.
        power: The power of all available plugs in W.
        oldest: Time of the oldest measurement of an available plug, in UTC; `None` without one.
        charged: Energy charged into vehicles by the meters of all plugs, in Wh.
        discharged: Energy discharged from vehicles by the meters of all plugs, in Wh.
        gap: Seconds for which the energy of a plug is unknown, summed over all plugs.
        open_sessions: Number of plugs with an open session.
    """

    stations: Mapping[str, int]
    plugs: Mapping[str, int]
    charging: int
    power: float
    oldest: datetime | None
    charged: float
    discharged: float
    gap: float
    open_sessions: int


def aggregate(states: Iterable[StationState]) -> Aggregates:
    """Return the aggregates of these stations."""
    stations: Counter[Reason | None] = Counter()
    plugs: Counter[Reason | None] = Counter()
    online = available = charging = 0  # plain numbers: an enum as a key costs more than the rest of an iteration
    power, oldest = 0.0, None
    charged = discharged = gap = 0.0
    sessions = 0
    for state in states:
        if state.reason is Reason.ONLINE:
            online += 1
        else:
            stations[state.reason] += 1
        repeated = state.repeated_until
        for plug in state.plugs.values():
            reading, meter = plug.reading, plug.meter
            if repeated is not None and reading is not None and reading.power != 0:  # else, no count has changed
                meter = plug_with_repeats(plug, repeated).meter
            if meter is not None:
                charged += meter.charged
                discharged += meter.discharged
                gap += meter.gap
                sessions += meter.session is not None
            if plug.reason is not Reason.ONLINE or reading is None:
                plugs[plug.reason] += 1
                continue
            available += 1
            power += reading.power or 0.0
            if meaning(reading.status).charging:
                charging += 1
            measured = repeated or reading.time
            if measured is not None and (oldest is None or measured < oldest):
                oldest = measured
    stations[Reason.ONLINE] += online
    plugs[Reason.ONLINE] += available
    return Aggregates(
        stations=_by_state(STATION_STATES, stations),
        plugs=_by_state(PLUG_STATES, plugs),
        charging=charging,
        power=power,
        oldest=oldest,
        charged=charged,
        discharged=discharged,
        gap=gap,
        open_sessions=sessions,
    )


def _by_state(states: Iterable[str], by_reason: Counter[Reason | None]) -> dict[str, int]:
    """Return the counts by name of the state, with a zero for each state that does not occur."""
    counts = {WAITING if reason is None else reason.value: count for reason, count in by_reason.items()}
    return {state: counts.get(state, 0) for state in states}
