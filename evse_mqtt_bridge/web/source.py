"""The interface of the running bridge for the web server."""

from collections.abc import Iterable
from typing import Protocol

from evse_mqtt_bridge.observability.process_snapshot import ProcessSnapshot
from evse_mqtt_bridge.observability.snapshot import Health, Snapshot, StationSnapshot
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.storage.report_request import ReportRequest

__all__ = ["HistorySource", "SnapshotSource", "StatusSource"]


class SnapshotSource(Protocol):
    """Snapshots of the running bridge, as the feed needs them."""

    @property
    def plan(self) -> Plan:
        """The current plan."""

    def summary(self) -> Snapshot:
        """Return a snapshot without stations."""

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterable[StationSnapshot]:
        """Return snapshots of the stations polled after revision `after`.

        Args:
            after: Revision of the history; -1 returns all stations.
            steps: Whether to include the power history of the last hour.
        """


class HistorySource(Protocol):
    """The history of energy and sessions. Its methods never block the event loop."""

    async def overview(self) -> bytes:
        """Return the state of the history with the energy of today and of this month, as JSON."""

    async def report(self, request: ReportRequest) -> bytes:
        """Return a report.

        Raises:
            HistoryUnavailableError: The history is disabled, busy, or cannot be read.
            ReportRequestError: The request is invalid.
        """


class StatusSource(SnapshotSource, Protocol):
    """The running bridge, as the request handlers need it."""

    @property
    def energy_history(self) -> HistorySource:
        """The history of energy and sessions."""

    def health(self) -> Health:
        """Return the health only, which is cheaper than a summary."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that an Accept header requests, and their content type."""

    def process(self) -> ProcessSnapshot:
        """Return the process and the outcome of its last reload."""

    def request_failed(self, error: BaseException) -> None:
        """Report that a request handler raised an exception, which is a bug."""
