"""The interface between the running bridge and the writer of the history. It imports no database."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import Plug, Record

__all__ = ["HistoryProblem", "RecordSink", "WriterCounts"]


class RecordSink(Protocol):
    """Takes records, and returns at once."""

    def put(self, records: Iterable[Record]) -> None:
        """Add records to write."""

    def begin(self, plug: Plug, meter: Meter, time: datetime) -> None:
        """Begin with a meter whose last measurement was at `time`; see `Spans.begin`."""

    def count(self, plug: tuple[str, str], old: Meter, new: Meter, time: datetime) -> bool:
        """Add what a meter counted with a measurement; see `Spans.add`.

        Returns:
            Whether the last change of the meter led to `old`. If not, nothing is added: call `begin` before.
        """

    def name(self, plug: Plug, station_name: str, plug_name: str) -> None:
        """Set the display names of a plug, for reports."""


@dataclass(slots=True)
class WriterCounts:
    """What the writer has done since its start.

    Attributes:
        written: Number of records.
        failures: Number of failed transactions.
        waiting: Number of records in the backlog.
        dropped: Number of records that the full backlog dropped.
        error: Why the last transaction failed; empty: it did not.
    """

    written: int = 0
    failures: int = 0
    waiting: int = 0
    dropped: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class HistoryProblem:
    """The database failed, or works again.

    Attributes:
        error: The reason; empty: it works again.
        set_aside: The new name of a damaged file; empty: none.
    """

    error: str
    set_aside: str = ""
