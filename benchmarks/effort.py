"""How much is measured: for the record, or for a first look."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Effort"]


@dataclass(frozen=True, slots=True)
class Effort:
    """Times in seconds; `rounds` is how often what is compared takes turns, `flat_out` how many stations it asks.

    `paced` stations at 10 s are a rate of a tenth as many per second. `sizes` are the numbers of stations of the scale
    measurement, `crowd` that of the fault measurement.
    """

    rounds: int
    seconds: float
    flat_out: int
    paced: int
    paced_seconds: float
    sizes: tuple[int, ...]
    crowd: int


FULL = Effort(2, 6.0, 15_000, 5_000, 20.0, (500, 5_000, 20_000), 5_000)
QUICK = Effort(1, 4.0, 10_000, 1_000, 10.0, (100, 500), 320)
