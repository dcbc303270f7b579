"""Reports the state of the running bridge, from its components and listeners: snapshots, health, metrics."""

import os
import platform
from collections.abc import Iterator
from datetime import datetime, timedelta

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.model import Reason, StationState
from evse_mqtt_bridge.domain.repeats import with_repeats
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.observability.aggregates import aggregate
from evse_mqtt_bridge.observability.health import HealthInputs, evaluate
from evse_mqtt_bridge.observability.loop_lag import LoopLag
from evse_mqtt_bridge.observability.process_snapshot import ProcessSnapshot
from evse_mqtt_bridge.observability.snapshot import BridgeSnapshot, Health, Snapshot, StationSnapshot, station_snapshots
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.components.logging import Logging
from evse_mqtt_bridge.service.components.membership import Membership
from evse_mqtt_bridge.service.components.polling import Polling
from evse_mqtt_bridge.service.components.publishing import Publishing
from evse_mqtt_bridge.service.components.recording import Recording
from evse_mqtt_bridge.service.history_reader import HistoryReader
from evse_mqtt_bridge.service.observers import Observers
from evse_mqtt_bridge.service.uncaught_errors import UncaughtErrors
from evse_mqtt_bridge.support.processes import identity_of

__all__ = ["Introspection"]


class Introspection:
    """The state of the bridge for the web server (as `StatusSource`) and the service manager."""

    def __init__(  # noqa: PLR0913  # one argument per part that is described
        self,
        *,
        clock: Clock,
        stations: Stations,
        polling: Polling,
        publishing: Publishing,
        membership: Membership,
        loop_lag: LoopLag,
        logging: Logging,
        recording: Recording,
        history_reader: HistoryReader,
        observers: Observers,
        uncaught_errors: UncaughtErrors,
    ) -> None:
        self._clock = clock
        self._stations = stations
        self._polling = polling
        self._publishing = publishing
        self._membership = membership
        self._loop_lag = loop_lag
        self._logging = logging
        self._recording = recording
        self._history_reader = history_reader
        self._observers = observers
        self._uncaught_errors = uncaught_errors

    @property
    def plan(self) -> Plan:
        """The current publishing plan."""
        return self._publishing.plan

    @property
    def energy_history(self) -> HistoryReader:
        """The history of energy and sessions."""
        return self._history_reader

    def state(self, uuid: str) -> StationState:
        """Return the state of a station of the plan, with its latest measurements."""
        return with_repeats(self._stations.state(uuid))

    def next_poll(self, uuid: str) -> datetime | None:
        """Return when a station is polled next, in UTC; `None` while a request is running."""
        due = self._polling.poller.next_poll(uuid)
        if due is None:
            return None
        return self._clock.utc() + timedelta(seconds=max(0.0, due - self._clock.monotonic()))

    def summary(self) -> Snapshot:
        """Return a snapshot without stations."""
        mqtt, history = self._publishing.settings, self._observers.history
        return Snapshot(
            at=self._clock.utc(),
            bridge=BridgeSnapshot(
                version=__version__,
                client_id=mqtt.client_id,
                base_topic=mqtt.base_topic,
                started=self._publishing.started,
                cloud=self._polling.settings.base_url,
                transport=self._polling.transport_name,
            ),
            broker=self._observers.broker_status.snapshot(mqtt.address),
            health=self.health(),
            stations=(),
            revision=history.revision,
            fleet=self._membership.snapshot(),
        )

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
        """Yield snapshots of the stations that changed after revision `after`; with their power history if `steps`."""
        return station_snapshots(self, self._observers.history, after, steps=steps)

    def health(self) -> Health:
        """Return liveness and readiness, with a message for each problem."""
        return evaluate(self._health_inputs())

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that an Accept header requests, and their content type."""
        observers = self._observers
        # Imported with the first scrape: the library for the metrics takes memory.
        from evse_mqtt_bridge.observability.exposition import Build, MetricInputs, exposition  # noqa: PLC0415

        inputs = MetricInputs(
            at=self._clock.utc(),
            build=Build(__version__, platform.python_version(), transport=self._polling.transport_name),
            started=self._publishing.started,
            configured=observers.reload_status.configured,
            last_reload_accepted=observers.reload_status.last_accepted,
            connected=observers.broker_status.connected,
            published=self._publishing.published,
            dropped_log_lines=self._logging.dropped_lines,
            history=self._recording.counts,
            counters=observers.counters,
            health=self._health_inputs(),
            aggregates=aggregate(self._states()),
            fleet=self._membership.snapshot(),
        )
        return exposition(inputs, accept)

    def process(self) -> ProcessSnapshot:
        """Return the process and the outcome of its last reload."""
        reloads, pid = self._observers.reload_status, os.getpid()
        return ProcessSnapshot(self.plan.client_id, pid, identity_of(pid), reloads.started, reloads.outcome)

    def request_failed(self, error: BaseException) -> None:
        """Report a request to the status page that failed because of a bug."""
        self._uncaught_errors.request_failed(error)

    def status_line(self) -> str:
        """Return the state of the bridge in one line."""
        online = sum(state.reason is Reason.ONLINE for state in self._states())
        return "; ".join((f"{online} of {len(self._stations.all)} stations online", *self.health().messages))

    def _states(self) -> Iterator[StationState]:
        return map(self._stations.state, self._stations.all)

    def _health_inputs(self) -> HealthInputs:
        now = self._clock.monotonic()
        settings, poller = self._polling.settings, self._polling.poller
        rate = poller.rate
        fleet = self._membership.snapshot()
        return HealthInputs(
            loop_lag=self._loop_lag.worst,
            poll_delay=min(poller.delay, max(0.0, now - poller.held_until)),
            since_last_poll=now - self._observers.poll_status.last_poll,
            request_timeout=settings.timeout,
            on_hold=poller.held,
            connected=self._publishing.is_live,
            broker_error=self._observers.broker_status.error,
            stations=len(self._stations.all),
            is_member=fleet is not None,
            fleet_problem=fleet.problem if fleet is not None else "",
            longest_request=poller.oldest_request_age,
            request_spacing=1 / rate if rate else 0.0,
            unavailable=self._observers.poll_status.unavailable(),
            rejected_messages=self._observers.broker_status.rejected_messages,
            reload_rejected=not self._observers.reload_status.last_accepted,
        )
