"""The accuracy of counted energy: the meter's sessions against the true energy of the simulated plugs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.effort import Effort
from benchmarks.report import Table
from evse_mqtt_bridge.domain.energy import longest_span
from evse_mqtt_bridge.domain.meter import Meter, count, interrupt
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.simulator.scenario import PlugScenario
from evse_mqtt_bridge.simulator.seeded_random import SeededRandom

__all__ = ["energy"]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_HOURS = 24  # of each plug


@dataclass(frozen=True, slots=True)
class _Counted:
    """A session of a simulated plug.

    Attributes:
        counted: The energy of the meter, in Wh.
        true: The energy of the simulation, in Wh.
        gap: Seconds without known energy, by the meter.
    """

    counted: float
    true: float
    gap: float

    @property
    def error(self) -> float:
        """The relative error of the counted energy."""
        return self.counted / self.true - 1


def energy(effort: Effort) -> Iterator[Table]:
    """Yield the table of errors."""
    rows = []
    for interval in (1, 10, 30, 60):
        sessions = _sessions(interval, effort.sessions)
        rows.append(_row(f"{interval} s", [session for session in sessions if not session.gap]))
        if interval == 30:  # the default interval
            rows.append(_row(f"{interval} s, interrupted", [session for session in sessions if session.gap]))
    columns = ("polled every", "sessions", "median error", "95 % of the errors", "worst error", "error of the sum")
    yield Table("energy", columns, tuple(rows))


def _sessions(interval: int, wanted: int) -> list[_Counted]:
    """Return sessions whose start and end were both measured, in the order of the plugs."""
    sessions: list[_Counted] = []
    station = 0
    while len(sessions) < wanted:
        sessions += _sessions_of(PlugScenario(1, station, 0), interval)
        station += 1
    return sessions[:wanted]


def _sessions_of(scenario: PlugScenario, interval: int) -> Iterator[_Counted]:
    phase = SeededRandom("benchmark", scenario.station).random() * interval
    meter, unplugged = Meter(), 0
    elapsed = phase
    while elapsed < _HOURS * 3600:
        reading = _reading(scenario, elapsed)
        before = meter
        if meaning(reading.status).unavailable:
            meter = interrupt(meter)
        else:
            meter = count(meter, reading, longest_span(interval))
        ended = meter.last_session
        if ended is not None and ended is not before.last_session and ended.is_start_known:
            yield _compared(scenario, ended, unplugged)
        if meter.session is None and meter.counted is not None and meter.counted.time is not None:
            unplugged = _second(meter.counted.time)
        elapsed += interval


def _compared(scenario: PlugScenario, session: Session, unplugged: int) -> _Counted:
    """Compare a session with the truth, from the last measurement before it to its end."""
    end = _second(session.ended or session.started)
    return _Counted(session.charged, scenario.energy_between(unplugged, end), session.gap)


def _reading(scenario: PlugScenario, elapsed: float) -> PlugReading:
    measurement = scenario.at(elapsed)
    time = _BEGAN + timedelta(seconds=measurement.at)
    return PlugReading("plug", None, measurement.status, measurement.power, time=time)


def _second(time: datetime) -> int:
    return round((time - _BEGAN).total_seconds())


def _row(name: str, sessions: list[_Counted]) -> tuple[str, ...]:
    errors = sorted(abs(session.error) for session in sessions if session.true)
    if not errors:
        return (name, "0", "-", "-", "-", "-")
    bias = sum(session.counted for session in sessions) / sum(session.true for session in sessions) - 1
    figures = (errors[len(errors) // 2], errors[int(len(errors) * 0.95)], errors[-1])
    return (name, str(len(errors)), *(f"{figure:.2%}" for figure in figures), f"{bias:+.3%}")
