"""Compares the sessions that bridges counted with those of the simulation."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Self

from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.simulator.scenario import TICK, PlugScenario
from evse_mqtt_bridge.simulator.simulation import SimulatedPlug, SimulatedStation, Simulation
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.queries import Selection, sessions

__all__ = ["Comparison", "Counted", "Truth", "compare"]

_SMALL = 3.0  # Wh; a counter and the sum of its sessions differ by roundings to a watt-hour


@dataclass(frozen=True, slots=True)
class CountedSession:
    """A session that a bridge counted.

    Attributes:
        started: Its first measurement.
        ended: The measurement that ended it; `None`: it is open.
        energy: Its energy in Wh.
    """

    started: datetime
    ended: datetime | None
    energy: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What a bridge counted for a plug.

    Attributes:
        plug: The plug.
        first: Time of the first measurement.
        last: Time of the last measurement.
        energy: The counter in Wh.
        gap: Seconds for which the energy is unknown.
        sessions: The sessions of the history, and the open one.
    """

    plug: SimulatedPlug
    first: datetime
    last: datetime
    energy: float
    gap: float
    sessions: tuple[CountedSession, ...]

    @classmethod
    def of(cls, url: str, station: SimulatedStation, plug: SimulatedPlug, first: datetime, state: bytes) -> Self:
        """Return what the history and the last `state` of a plug have."""
        content: dict[str, Any] = json.loads(state)
        sessions = _stored(url).get((station.uuid, plug.uuid), ())
        if session := content["session"]:
            started = datetime.fromisoformat(session["started"])
            sessions = (*sessions, CountedSession(started, None, 1000 * session["energy"]))
        last = datetime.fromisoformat(content["energy_time"])
        return cls(plug, first, last, 1000 * content["energy"], content["energy_gap"], sessions)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences between counted and true sessions.

    Attributes:
        cells: The cells of the table: sessions, energy, error of the sum, gap, and the numbers of sessions that are
            split, joined, missing, and doubled. All but those about energy include the plugs with an outage.
    """

    cells: tuple[str, ...]


class Truth:
    """The sessions and the energy of a simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def second(self, time: datetime) -> int:
        """Return the simulated second of a measurement time."""
        return round((time - self._simulation.started).total_seconds() * self._simulation.speed)

    def energy(self, scenario: PlugScenario, first: int, last: int) -> float:
        """Return the energy between two simulated seconds in Wh, in real time."""
        return scenario.energy_between(first, last) / self._simulation.speed

    def sessions(self, scenario: PlugScenario, first: int, last: int) -> tuple[list[tuple[int, int]], bool]:
        """Return the start and end of each session between two simulated seconds, and whether there was an outage."""
        found: list[tuple[int, int]] = []
        is_open = has_outage = False
        for second in range(first, last + 1, round(TICK)):
            flags = meaning(scenario.at(second).status)
            has_outage |= flags.unavailable is not None
            if flags.vehicle_connected and not is_open:
                found.append((second, second))
            if flags.vehicle_connected is not None:
                is_open = flags.vehicle_connected
            if is_open:
                found[-1] = (found[-1][0], second)
        return found, has_outage


def compare(truth: Truth, plugs: Iterable[Counted]) -> Comparison:
    """Return the differences of the sessions of plugs from the truth."""
    sessions = split = joined = missing = doubled = 0
    counted_energy = true_energy = gap = 0.0
    for plug in plugs:
        scenario = plug.plug.scenario
        if not isinstance(scenario, PlugScenario):
            raise TypeError("only a scenario knows its energy")
        first, last = truth.second(plug.first), truth.second(plug.last)
        true, has_outage = truth.sessions(scenario, first, last)
        spans = [(truth.second(each.started), truth.second(each.ended or plug.last)) for each in plug.sessions]
        matches = [[span for span in spans if _overlap(each, span)] for each in true]
        sessions += len(true)
        split += sum(len(each) > 1 for each in matches)
        missing += sum(not each for each in matches)
        joined += sum(sum(_overlap(each, span) for each in true) > 1 for span in spans)
        energy = sum(each.energy for each in plug.sessions)
        doubled += energy > plug.energy + _SMALL
        if not has_outage:
            counted_energy += energy
            true_energy += truth.energy(scenario, first, last)
            gap += plug.gap
    cells = (
        str(sessions),
        f"{counted_energy / 1000:.1f} kWh",
        f"{counted_energy / true_energy - 1:+.3%}",
        f"{gap:.0f} s",
        *map(str, (split, joined, missing, doubled)),
    )
    return Comparison(cells)


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return first[0] <= second[1] and second[0] <= first[1]


@cache
def _stored(url: str) -> dict[tuple[str, str], tuple[CountedSession, ...]]:
    """Return the sessions of a history, by station and plug."""
    found: dict[tuple[str, str], tuple[CountedSession, ...]] = {}
    database = Database(url, is_report=True)
    try:
        for row in sorted(sessions(database, Selection()), key=lambda row: row.session.started):
            session = row.session
            counted = CountedSession(session.started, session.ended, session.charged)
            found[row.plug] = (*found.get(row.plug, ()), counted)
    finally:
        database.close()
    return found
