"""Metrics of a running bridge for Prometheus: what was seen goes in, one of its text formats comes out.

Names and units follow Prometheus' conventions. Labels have a fixed set of values, each of which is there from the
start: nothing is told of a single station or plug, of which there may be thousands; the status page and MQTT do that.
docs/monitoring.md explains each metric.
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

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.mqtt.connection import DisconnectReason
from evse_mqtt_bridge.observability.aggregates import Aggregates
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from evse_mqtt_bridge.observability.health import HealthInputs, evaluate

__all__ = ["PREFIX", "SUCCESS", "Build", "Observed", "exposition"]

PREFIX = "evse_mqtt_bridge_"
"""What the name of each metric begins with, but for those of the process, which every program calls the same."""

SUCCESS = "success"
"""The outcome of a poll that yielded a useful answer; any other is the reason of its failure."""

_VERSION = re.compile(r"version *= *([^; ]*)")
_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})
_FAILURES = tuple(reason for reason in STATION_REASONS if reason is not Reason.ONLINE)


@dataclass(frozen=True, slots=True)
class Build:
    """What runs: the bridge's version, Python's, and what carries the requests."""

    version: str
    python: str
    transport: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of a running bridge at a moment, `at` (UTC).

    `started` and `configured` (UTC) are when it started, and when its configuration was taken over; `accepted` tells
    whether the last reload was. `connected` is as the status page has it; `published` counts messages.
    """

    at: datetime
    build: Build
    started: datetime
    configured: datetime
    accepted: bool
    connected: bool
    published: int
    counters: Counters
    vitals: HealthInputs
    aggregates: Aggregates


def exposition(observed: Observed, accept: str = "") -> tuple[bytes, str]:
    """The metrics, and their content type: Prometheus' text format, or OpenMetrics where `accept` asks for it."""
    registry = CollectorRegistry()
    registry.register(_Once(observed))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(_understood(accept))
    return encode(registry), content_type


def _understood(accept: str) -> str:
    """The parts of an Accept header that ask for versions that there are: the library promises any."""
    parts = accept.split(",")
    return ",".join(part for part in parts if set(_VERSION.findall(part)) <= _VERSIONS)


@dataclass(frozen=True, slots=True, eq=False)  # a registry wants what can be hashed
class _Once(Collector):
    """Collects what was seen at one moment."""

    observed: Observed

    def collect(self) -> Iterable[Metric]:
        """All metrics but the process'."""
        yield from _bridge(self.observed)
        yield from _polls(self.observed)
        yield from _stations(self.observed)
        yield from _broker(self.observed)


def _bridge(seen: Observed) -> Iterator[Metric]:
    build = {"version": seen.build.version, "python": seen.build.python, "transport": seen.build.transport}
    yield InfoMetricFamily(PREFIX + "build", "What runs; the value is always 1.", value=build)
    yield _gauge("start_time_seconds", "When the bridge started, in seconds since 1970.", seen.started.timestamp())
    yield _gauge(
        "healthy", "Whether the bridge does its work, as /healthz tells: 1 or 0.", evaluate(seen.vitals).healthy
    )
    yield _gauge(
        "event_loop_lag_seconds", "Longest time for which the event loop was held up within a minute.", seen.vitals.lag
    )
    reloads = {result: seen.counters.reloads[result] for result in ("taken", "refused")}
    yield _counters("config_reloads", "Changed configurations, by whether they were taken over.", "result", reloads)
    yield _gauge(
        "config_last_reload_successful",
        "Whether the last reload was taken over: 1 (also before any) or 0.",
        seen.accepted,
    )
    yield _gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the configuration that is in force was taken over, in seconds since 1970.",
        seen.configured.timestamp(),
    )


def _polls(seen: Observed) -> Iterator[Metric]:
    counters, vitals = seen.counters, seen.vitals
    outcomes = {SUCCESS: counters.answered} | {reason.value: counters.failures[reason] for reason in _FAILURES}
    yield _counters("polls", "Polls of stations, by what came of them.", "outcome", outcomes)
    bounds = [*map(floatToGoString, DURATION_BUCKETS), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(counters.durations)), strict=True))
    words = "How long polls took, in seconds, from the request to the whole answer."
    yield HistogramMetricFamily(PREFIX + "poll_duration_seconds", words, buckets=buckets, sum_value=counters.seconds)
    yield _counter("unusual_answers", "Answers that were used, but had something unusual.", counters.unusual)
    yield _gauge("poll_delay_seconds", "How long the earliest poll that is due has been waiting for.", vitals.late)
    yield _gauge(
        "polls_held", "Whether no polls are made since the cloud asked to wait (Retry-After): 1 or 0.", vitals.held
    )


def _stations(seen: Observed) -> Iterator[Metric]:
    aggregates = seen.aggregates
    yield _gauge("stations_configured", "Stations in the configuration.", sum(aggregates.stations.values()))
    yield _gauges("stations", "Stations by state; all of them together are those configured.", aggregates.stations)
    yield _gauges("plugs", "Plugs by state.", aggregates.plugs)
    yield _gauge("plugs_charging", "Available plugs that charge a vehicle.", aggregates.charging)
    yield _gauge(
        "power_watts",
        "Power of all available plugs together, in W; negative while vehicles supply more.",
        aggregates.power,
    )
    # A clock that is behind that of the stations makes a measurement no younger than none at all.
    age = max(0.0, (seen.at - aggregates.oldest).total_seconds()) if aggregates.oldest else math.nan
    yield _gauge(
        "oldest_measurement_age_seconds", "Age of the oldest measurement of an available plug; NaN without one.", age
    )


def _broker(seen: Observed) -> Iterator[Metric]:
    counters = seen.counters
    yield _gauge("broker_connected", "Whether the bridge is connected to the broker: 1 or 0.", seen.connected)
    yield _counter("broker_connections", "Connections that the broker accepted.", counters.connected)
    failures = {trouble.value: counters.ended[trouble.value] for trouble in DisconnectReason}
    words = "Connections that broke, and attempts at one that failed, by trouble."
    yield _counters("broker_connection_failures", words, "trouble", failures)
    yield _counter("messages_published", "Messages handed to the broker.", seen.published)
    yield _counter("messages_refused", "Messages that the broker refused.", counters.refused)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=value)


def _gauges(name: str, words: str, by_state: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, words, labels=["state"])
    for state, count in by_state.items():
        family.add_metric([state], count)
    return family


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, words, value=value)


def _counters(name: str, words: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, words, labels=[label])
    for key, count in values.items():
        family.add_metric([key], count)
    return family
