"""Values for tests of what a running bridge shows: states, what was observed of it, its metrics as they are read."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason, StationState
from evse_mqtt_bridge.observability.aggregates import aggregates
from evse_mqtt_bridge.observability.counters import Counters
from evse_mqtt_bridge.observability.exposition import Build, Observed, exposition
from evse_mqtt_bridge.observability.health import HealthInputs

__all__ = ["NOW", "WELL", "Samples", "observed", "plug", "samples", "station"]

NOW = datetime(2026, 3, 25, 11, 12, 20, tzinfo=UTC)

WELL = HealthInputs(lag=0.0, late=0.0, quiet=1.0, timeout=10.0, held=False, connected=True)
"""Nothing is wrong."""

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def plug(
    uuid: str = "p1",
    reason: Reason | None = Reason.ONLINE,
    **told: Any,  # noqa: ANN401  # as the tests name them
) -> PlugState:
    """A plug; `told` are fields of its reading."""
    return PlugState(uuid, reading=PlugReading(uuid, **told), reason=reason)


def station(*plugs: PlugState, reason: Reason | None = Reason.ONLINE) -> StationState:
    """A station with these plugs."""
    return StationState(reason, plugs={plug.uuid: plug for plug in plugs})


def observed(*stations: StationState, **changed: Any) -> Observed:  # noqa: ANN401  # same
    """What is seen of a bridge with these stations that has just started, but for what is `changed`."""
    values: dict[str, Any] = {
        "at": NOW,
        "build": Build("1.2.3", "3.13.1", "libcurl"),
        "started": NOW,
        "configured": NOW,
        "accepted": True,
        "connected": True,
        "published": 0,
        "counters": Counters(),
        "vitals": WELL,
        "aggregates": aggregates(stations),
    }
    return Observed(**{**values, **changed})


def samples(text: str | Observed) -> Samples:
    """The samples of an exposition, by name and labels."""
    if isinstance(text, Observed):
        text = exposition(text)[0].decode()
    return dict(_samples(text))


def _samples(text: str) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", sample.name)
            yield (sample.name, frozenset(sample.labels.items())), sample.value
