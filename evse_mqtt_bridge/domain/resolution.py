"""Rounds measurements to what a sensor can resolve, so that noise is no change.

The cloud may report 10.300000190734863 A and 10.299999237060547 A in turn, which are 10.3 A with the noise of 32-bit
floats. Both are rounded to the same value. Rounding alone does not suffice for a value half-way between two steps:
noise would decide in which direction it is rounded. So a value stays the same until the new one differs by more than
half a step and a tenth of a step.
"""

from dataclasses import dataclass

from evse_mqtt_bridge.domain.readings import PlugReading

__all__ = ["DEFAULT_RESOLUTION", "Resolution", "rounded"]

_MARGIN = 0.6
"""Difference up to which a value stays the same, in steps."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Numbers of decimals, 0 to 15.

    Attributes:
        power_decimals: Of powers in W.
        current_decimals: Of currents in A.
    """

    power_decimals: int = 1
    current_decimals: int = 2


DEFAULT_RESOLUTION = Resolution()


def rounded(reading: PlugReading, last: PlugReading | None, resolution: Resolution) -> PlugReading:
    """Return a reading with rounded values.

    Args:
        reading: The values as reported.
        last: The rounded reading before; `None` if there is none.
        resolution: The numbers of decimals.
    """
    if last is None:
        last = PlugReading(reading.plug_uuid)
    power, current = resolution.power_decimals, resolution.current_decimals
    result = PlugReading(
        reading.plug_uuid,
        reading.label,
        reading.status,
        _rounded(reading.power, last.power, power),
        _rounded(reading.current_l1, last.current_l1, current),
        _rounded(reading.current_l2, last.current_l2, current),
        _rounded(reading.current_l3, last.current_l3, current),
        _rounded(reading.dyn_current_limit, last.dyn_current_limit, current),
        reading.time,
    )
    return reading if result == reading else result  # the parser has stored `reading`, which need not be stored twice


def _rounded(value: float | None, last: float | None, decimals: int) -> float | None:
    if value is None:
        return None
    if last is not None and abs(value - last) <= _MARGIN * 10.0**-decimals and round(last, decimals) == last:
        return last  # the last condition fails if the number of decimals was reduced
    nearest = round(value, decimals)
    if not nearest:
        return 0.0  # never -0.0
    return value if value == nearest else nearest  # plugs share the objects of values
