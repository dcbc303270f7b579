"""Renders the metrics of a running bridge in Prometheus' text format or in OpenMetrics.

Names and units follow Prometheus' conventions. Every label has a fixed set of values, and every value is present from
the start. No metric is about a single station or plug, because there may be thousands; use the status page or MQTT for
these. docs/monitoring.md describes each metric.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.observability.aggregates import Aggregates
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot
from evse_mqtt_bridge.observability.health import HealthInputs, evaluate
from evse_mqtt_bridge.storage.sink import WriterCounts

__all__ = ["PREFIX", "SUCCESS", "Build", "MetricInputs", "exposition"]

PREFIX = "evse_mqtt_bridge_"
"""Prefix of every metric except those of the process, whose names are the same for all programs."""

SUCCESS = "success"
"""The outcome of a poll with a useful response; any other outcome is the reason of a failure."""

_JOULES = 3600.0  # per watt-hour
_VERSION = re.compile(r"version *= *([^; ]*)")
_KNOWN_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})
_FAILURES = tuple(reason for reason in STATION_REASONS if reason is not Reason.ONLINE)


@dataclass(frozen=True, slots=True)
class Build:
    """The versions of the bridge and of Python, and the library that carries the requests."""

    version: str
    python: str
    transport: str


@dataclass(frozen=True, slots=True)
class MetricInputs:
    """The inputs of the metrics.

    Attributes:
        at: The current time in UTC.
        started: When the bridge started, in UTC.
        configured: When the current configuration was applied, in UTC.
        last_reload_accepted: Whether the last reload was accepted; true before the first one.
        connected: Whether the broker is connected, as the status page shows it.
        published: Number of messages sent to the broker.
        dropped_log_lines: Number of log lines that could not be written.
        history: What was written into the history.
        fleet: The fleet; `None`: the bridge is no member of one.
    """

    at: datetime
    build: Build
    started: datetime
    configured: datetime
    last_reload_accepted: bool
    connected: bool
    published: int
    dropped_log_lines: int
    history: WriterCounts
    counters: Counters
    health: HealthInputs
    aggregates: Aggregates
    fleet: FleetSnapshot | None = None


def exposition(inputs: MetricInputs, accept: str = "") -> tuple[bytes, str]:
    """Return the metrics and their content type: OpenMetrics if `accept` requests it, else Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_InputsCollector(inputs))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(_with_known_versions(accept))
    return encode(registry), content_type


def _with_known_versions(accept: str) -> str:
    """Return the parts of an Accept header with known versions, because prometheus_client accepts any version."""
    parts = accept.split(",")
    return ",".join(part for part in parts if set(_VERSION.findall(part)) <= _KNOWN_VERSIONS)


@dataclass(frozen=True, slots=True, eq=False)  # a registry needs hashable collectors
class _InputsCollector(Collector):
    """Collects the metrics of one point in time."""

    inputs: MetricInputs

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics except those of the process."""
        yield from _bridge_metrics(self.inputs)
        yield from _poll_metrics(self.inputs)
        yield from _station_metrics(self.inputs)
        yield from _energy_metrics(self.inputs)
        yield from _broker_metrics(self.inputs)
        if self.inputs.fleet is not None:
            yield from _fleet_metrics(self.inputs, self.inputs.fleet)


def _bridge_metrics(inputs: MetricInputs) -> Iterator[Metric]:
    build = {"version": inputs.build.version, "python": inputs.build.python, "transport": inputs.build.transport}
    yield InfoMetricFamily(PREFIX + "build", "Versions of the bridge and of Python, and the HTTP library.", value=build)
    yield _gauge("start_time_seconds", "Start time of the bridge, in seconds since 1970.", inputs.started.timestamp())
    yield _gauge(
        "healthy", "1 if the bridge is healthy, as /healthz reports it, else 0.", evaluate(inputs.health).healthy
    )
    yield _gauge(
        "event_loop_lag_seconds",
        "Longest delay of the event loop within the last minute.",
        inputs.health.loop_lag,
    )
    reloads = {"taken": inputs.counters.reloads_applied, "refused": inputs.counters.reloads_rejected}
    yield _counters("config_reloads", "Reloads of the configuration by result.", "result", reloads)
    yield _gauge(
        "config_last_reload_successful",
        "1 if the last reload was successful, or if there was none, else 0.",
        inputs.last_reload_accepted,
    )
    yield _gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the current configuration was applied, in seconds since 1970.",
        inputs.configured.timestamp(),
    )
    yield _counter(
        "log_lines_dropped",
        "Log lines that were lost because stderr could not be written.",
        inputs.dropped_log_lines,
    )


def _poll_metrics(inputs: MetricInputs) -> Iterator[Metric]:
    counters, health = inputs.counters, inputs.health
    outcomes = {SUCCESS: counters.successes} | {reason.value: counters.failures[reason] for reason in _FAILURES}
    yield _counters("polls", "Polls of stations by outcome.", "outcome", outcomes)
    bounds = [*map(floatToGoString, DURATION_BUCKETS), "+Inf"]
    yield HistogramMetricFamily(
        PREFIX + "poll_duration_seconds",
        "Duration of polls from the request to the complete response, in seconds.",
        buckets=list(zip(bounds, map(float, accumulate(counters.durations)), strict=True)),
        sum_value=counters.total_duration,
    )
    yield _counter(
        "unusual_answers",
        "Useful responses with unusual contents, such as an unknown field, an unknown status or an invalid object.",
        counters.unusual_answers,
    )
    yield _gauge("poll_delay_seconds", "How long the earliest poll that is due has been waiting.", health.poll_delay)
    yield _gauge(
        "polls_held", "1 while polling pauses because the cloud requested it (Retry-After), else 0.", health.on_hold
    )


def _station_metrics(inputs: MetricInputs) -> Iterator[Metric]:
    aggregates = inputs.aggregates
    yield _gauge("stations_configured", "Stations in the configuration.", sum(aggregates.stations.values()))
    yield _gauges("stations", "Stations by state; the sum is the number of configured stations.", aggregates.stations)
    yield _gauges("plugs", "Plugs by state.", aggregates.plugs)
    yield _gauge("plugs_charging", "Available plugs that charge a vehicle.", aggregates.charging)
    yield _gauge(
        "power_watts",
        "Total power of all available plugs in W; negative if vehicles supply more than others draw.",
        aggregates.power,
    )
    # A measurement with a time ahead of the bridge's clock has the age 0.
    age = max(0.0, (inputs.at - aggregates.oldest).total_seconds()) if aggregates.oldest else math.nan
    yield _gauge(
        "oldest_measurement_age_seconds", "Age of the oldest measurement of an available plug; NaN without one.", age
    )


def _energy_metrics(inputs: MetricInputs) -> Iterator[Metric]:
    aggregates, history = inputs.aggregates, inputs.history
    yield _counter(
        "energy_charged_joules", "Energy charged into vehicles, summed over all plugs.", aggregates.charged * _JOULES
    )
    yield _counter(
        "energy_discharged_joules",
        "Energy discharged from vehicles, summed over all plugs.",
        aggregates.discharged * _JOULES,
    )
    yield _counter(
        "energy_gap_seconds", "Time for which the energy of a plug is unknown, summed over all plugs.", aggregates.gap
    )
    yield _gauge("sessions_open", "Plugs with an open charging session.", aggregates.open_sessions)
    yield _counter("history_records_written", "Records written into the history.", history.written)
    yield _counter("history_write_failures", "Failed attempts to write the history.", history.failures)
    yield _gauge("history_records_waiting", "Records that wait until the history can be written.", history.waiting)
    yield _counter("history_records_dropped", "Records lost because too many were waiting.", history.dropped)


def _broker_metrics(inputs: MetricInputs) -> Iterator[Metric]:
    counters = inputs.counters
    yield _gauge("broker_connected", "1 if the bridge is connected to the broker, else 0.", inputs.connected)
    yield _counter("broker_connections", "Connections that the broker accepted.", counters.connects)
    yield _counters(
        "broker_connection_failures",
        "Lost connections and failed attempts to connect, by cause.",
        "trouble",
        {reason.value: counters.disconnects[reason] for reason in DisconnectReason},
    )
    yield _counter("messages_published", "Messages sent to the broker.", inputs.published)
    yield _counter("messages_refused", "Messages that the broker rejected.", counters.rejected_messages)


def _fleet_metrics(inputs: MetricInputs, fleet: FleetSnapshot) -> Iterator[Metric]:
    """Yield the metrics of a fleet; with static shares, only those of this member."""
    yield _gauge("fleet_shards", "Shards into which the stations are divided.", fleet.shards)
    yield _gauge("fleet_shards_held", "Shards that run in this process.", len(fleet.held))
    if fleet.engine == "static":
        return
    yield _gauge("fleet_members", "Members that are alive, at the last answer of the engine.", len(fleet.members))
    yield _gauge("fleet_engine_connected", "1 if the engine answered the last request, else 0.", fleet.connected)
    age = math.nan if fleet.answered is None else max(0.0, (inputs.at - fleet.answered).total_seconds())
    yield _gauge("fleet_beat_age_seconds", "Time since the engine answered last; NaN: never.", age)
    yield _gauge("fleet_conflict", "1 if the members cannot work together as usual, else 0.", bool(fleet.conflict))
    counters = inputs.counters
    changes = {
        "begun": counters.shards_begun,
        "handed_over": counters.shards_handed_over,
        "lost": counters.shards_lost,
    }
    yield _counters("fleet_shard_changes", "Shards that this member began, handed over or lost.", "change", changes)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, description, value=value)


def _gauges(name: str, description: str, by_state: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, description, labels=["state"])
    for state, count in by_state.items():
        family.add_metric([state], count)
    return family


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, description, value=value)


def _counters(name: str, description: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, description, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
