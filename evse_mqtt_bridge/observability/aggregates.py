"""Counts the stations and plugs of a running bridge, by what they are at a moment.

Counted when somebody asks, from the states themselves, so that it is never off: 5,000 stations take some milliseconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason, StationState
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["PLUG_STATES", "STATION_STATES", "WAITING", "Aggregates", "aggregates"]

WAITING = "waiting"
"""The state of a station, or of a plug, that has not told anything yet."""

STATION_STATES = (WAITING, *(reason.value for reason in STATION_REASONS))
"""What a station may be."""

PLUG_STATES = (WAITING, *(reason.value for reason in Reason))
"""What a plug may be."""


@dataclass(frozen=True, slots=True)
class Aggregates:
    """How many `stations` and `plugs` there are by state, each of which is there, and what the available plugs tell.

    `charging` counts plugs; `power` is theirs together in W; `oldest` is the time (UTC) of the oldest measurement,
    `None` where there is none.
    """

    stations: Mapping[str, int]
    plugs: Mapping[str, int]
    charging: int
    power: float
    oldest: datetime | None


def aggregates(states: Iterable[StationState]) -> Aggregates:
    """The aggregates of these stations."""
    stations: Counter[Reason | None] = Counter()
    plugs: Counter[Reason | None] = Counter()
    online = available = charging = 0  # not in the Counters: an Enum as a key costs more than the rest of a round
    power, oldest = 0.0, None
    for state in states:
        if state.reason is Reason.ONLINE:
            online += 1
        else:
            stations[state.reason] += 1
        for plug in state.plugs.values():
            reading = plug.reading
            if plug.reason is not Reason.ONLINE or reading is None:
                plugs[plug.reason] += 1
                continue
            available += 1
            power += reading.power or 0.0
            if meaning(reading.status).charging:
                charging += 1
            if reading.time is not None and (oldest is None or reading.time < oldest):
                oldest = reading.time
    stations[Reason.ONLINE] += online
    plugs[Reason.ONLINE] += available
    return Aggregates(_by_state(STATION_STATES, stations), _by_state(PLUG_STATES, plugs), charging, power, oldest)


def _by_state(states: Iterable[str], counted: Counter[Reason | None]) -> dict[str, int]:
    found = {WAITING if reason is None else reason.value: count for reason, count in counted.items()}
    return {state: found.get(state, 0) for state in states}
