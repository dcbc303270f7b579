"""The extent of a measurement: a full run, or a quick one for a first impression."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Effort"]


@dataclass(frozen=True, slots=True)
class Effort:
    """The extent of each measurement.

    Attributes:
        rounds: Number of times that each compared variant runs, alternating with the others.
        seconds: Duration of a measurement at full load.
        full_load_stations: Number of stations at full load.
        paced_stations: Number of stations at an interval of 10 s.
        paced_seconds: Duration of a measurement at that interval.
        sizes: Numbers of stations for the scale measurement.
        fault_stations: Number of stations for the fault measurement.
        counted_seconds: Duration of a count of instructions.
        sessions: Number of charging sessions for the energy measurement.
        history_sessions: Number of charging sessions in the database of the history measurement.
        kills: Number of times that a bridge is killed.
        outage: Duration of an outage of the history after a failed write, in seconds.
    """

    rounds: int
    seconds: float
    full_load_stations: int
    paced_stations: int
    paced_seconds: float
    sizes: tuple[int, ...]
    fault_stations: int
    counted_seconds: float
    sessions: int
    history_sessions: int
    kills: int
    outage: float


FULL = Effort(2, 6.0, 25_000, 5_000, 20.0, (500, 5_000, 20_000), 5_000, 8.0, 200, 100_000, 50, 60.0)
QUICK = Effort(1, 4.0, 10_000, 1_000, 10.0, (100, 500), 320, 5.0, 20, 10_000, 10, 10.0)
