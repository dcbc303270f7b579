"""What the meters counted since their last record: one span per plug, however many polls it has.

A charging plug counts with every poll, but its reading of the current hour and its meter are only worth writing from
time to time. At the end of an hour, and of a session, the exact counts matter, so the records are due at once.
"""

from itertools import islice

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import Plug, Record, records

__all__ = ["Spans"]


class Spans:
    """The spans by plug, each as the meter before it and the meter after it."""

    def __init__(self) -> None:
        self._spans: dict[Plug, tuple[Meter, Meter]] = {}

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, plug: Plug, old: Meter, new: Meter) -> list[Record]:
        """Add what a meter counted with a measurement; return the records that are due now.

        Args:
            plug: The plug.
            old: Its meter before the measurement.
            new: Its meter after it.
        """
        span = self._spans.get(plug)
        if _is_within_an_hour(old, new) and new.last_session is old.last_session:
            self._spans[plug] = (span[0] if span else old, new)
            return []
        self._spans.pop(plug, None)
        return [*(records(plug, *span) if span else ()), *records(plug, old, new)]

    def remove(self, limit: int | None) -> list[tuple[Plug, Meter, Meter]]:
        """Remove and return the oldest spans, each as the arguments of `records`.

        Args:
            limit: Maximum number of spans; `None`: all.
        """
        return [(plug, *self._spans.pop(plug)) for plug in list(islice(self._spans, limit))]


def _is_within_an_hour(old: Meter, new: Meter) -> bool:
    """Return whether two measurements are in the same hour of a day."""
    before, after = old.counted, new.counted
    if before is None or after is None or before.time is None or after.time is None:
        return False
    return before.time.hour == after.time.hour and before.time.toordinal() == after.time.toordinal()
