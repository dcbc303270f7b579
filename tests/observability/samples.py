"""Values for the tests of observability: states, poll events, metric inputs, and a parser for metrics."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import PollCompleted
from evse_mqtt_bridge.domain.model import Outcome, PlugReading, PlugState, Reason, Station, StationState
from evse_mqtt_bridge.observability.aggregates import aggregate
from evse_mqtt_bridge.observability.counters import Counters
from evse_mqtt_bridge.observability.exposition import Build, MetricInputs, exposition
from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot
from evse_mqtt_bridge.observability.health import HealthInputs
from evse_mqtt_bridge.storage.sink import WriterCounts

__all__ = ["FLEET", "HEALTHY", "NOW", "Samples", "metric_inputs", "plug", "poll_completed", "samples", "station"]

NOW = datetime(2026, 3, 25, 11, 12, 20, tzinfo=UTC)

HEALTHY = HealthInputs(
    loop_lag=0.0, poll_delay=0.0, since_last_poll=1.0, request_timeout=10.0, on_hold=False, connected=True
)
"""Inputs that yield a healthy and ready bridge without a message."""

FLEET = FleetSnapshot("etcd", "m1", 16, (0, 2), connected=True, answered=NOW)
"""The fleet of a member whose engine has answered just now, without any member."""

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def plug(
    uuid: str = "p1",
    reason: Reason | None = Reason.ONLINE,
    **reading: Any,  # noqa: ANN401  # of any field
) -> PlugState:
    """Return the state of a plug; `reading` has fields of its reading."""
    return PlugState(uuid, reading=PlugReading(uuid, **reading), reason=reason)


def station(*plugs: PlugState, reason: Reason | None = Reason.ONLINE) -> StationState:
    """Return the state of a station with these plugs."""
    return StationState(reason, plugs={plug.uuid: plug for plug in plugs})


def poll_completed(outcome: Outcome, seconds: float = 0.1, station: str = "s1") -> PollCompleted:
    """Return the event of a poll that changed nothing."""
    state = StationState()
    return PollCompleted(Station(station, 30), state, state, outcome, Moment(0.0, NOW), seconds, has_changes=False)


def metric_inputs(*stations: StationState, **changes: Any) -> MetricInputs:  # noqa: ANN401  # of any field
    """Return the inputs of a bridge with these stations that has just started, with `changes`."""
    inputs = MetricInputs(
        at=NOW,
        build=Build("1.2.3", "3.13.1", "libcurl"),
        started=NOW,
        configured=NOW,
        last_reload_accepted=True,
        connected=True,
        published=0,
        dropped_log_lines=0,
        history=WriterCounts(),
        counters=Counters(),
        health=HEALTHY,
        aggregates=aggregate(stations),
        fleet=FLEET,
    )
    return replace(inputs, **changes)


def samples(text: str | MetricInputs) -> Samples:
    """Return the samples of an exposition by name and labels."""
    if isinstance(text, MetricInputs):
        text = exposition(text)[0].decode()
    return dict(_samples(text))


def _samples(text: str) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", sample.name)
            yield (sample.name, frozenset(sample.labels.items())), sample.value
