"""The metrics: valid in both formats, complete from the start, bounded in number, and documented."""

import math
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from evse_mqtt_bridge.domain.events import BrokerDisconnected, DisconnectReason
from evse_mqtt_bridge.domain.model import STATION_REASONS, Outcome, Reading, Reason
from evse_mqtt_bridge.observability.aggregates import PLUG_STATES, STATION_STATES
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from evse_mqtt_bridge.observability.exposition import PREFIX, MetricInputs, exposition
from evse_mqtt_bridge.observability.fleet_snapshot import FleetMemberSnapshot, FleetSnapshot
from evse_mqtt_bridge.observability.snapshot import from_json
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, config_tables, free_port, write_config
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import station_table
from tests.harness.samples import FAILURES, failure, plug_reading, reading
from tests.observability.samples import FLEET, HEALTHY, NOW, metric_inputs, plug, poll_completed, samples, station

_PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
_OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def _openmetrics(text: str) -> list[Metric]:
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def _value(inputs: MetricInputs, name: str, **labels: str) -> float:
    return samples(inputs)[PREFIX + name, frozenset(labels.items())]


def _values(inputs: MetricInputs, name: str, label: str) -> dict[str, float]:
    """Return the samples of a metric by the value of a label."""
    found = samples(inputs).items()
    return {dict(labels)[label]: value for (metric, labels), value in found if metric == PREFIX + name}


def _nonzero(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value}


def _counters(**counts: int) -> Counters:
    counters = Counters()
    for name, count in counts.items():
        setattr(counters, name, count)
    return counters


def _polled(*polls: tuple[Outcome, float]) -> Counters:
    counters = Counters()
    for outcome, seconds in polls:
        counters.poll_completed(poll_completed(outcome, seconds))
    return counters


_RELOADS = {"counters": _counters(reloads_applied=2, reloads_rejected=1)}


@pytest.mark.parametrize(
    ("name", "labels", "changes", "value"),
    [
        ("build_info", {"version": "1.2.3", "python": "3.13.1", "transport": "libcurl"}, {}, 1),
        ("start_time_seconds", {}, {"started": NOW - timedelta(seconds=90)}, NOW.timestamp() - 90),
        ("healthy", {}, {}, 1),
        ("healthy", {}, {"health": replace(HEALTHY, poll_delay=100, since_last_poll=100)}, 0),
        ("event_loop_lag_seconds", {}, {"health": replace(HEALTHY, loop_lag=0.25)}, 0.25),
        ("poll_delay_seconds", {}, {"health": replace(HEALTHY, poll_delay=3.5)}, 3.5),
        ("polls_held", {}, {"health": replace(HEALTHY, on_hold=True)}, 1),
        ("polls_held", {}, {}, 0),
        ("log_lines_dropped_total", {}, {"dropped_log_lines": 7}, 7),
        ("config_reloads_total", {"result": "taken"}, _RELOADS, 2),
        ("config_reloads_total", {"result": "refused"}, _RELOADS, 1),
        ("config_last_reload_successful", {}, {"last_reload_accepted": False}, 0),
        ("config_last_reload_successful", {}, {}, 1),
        ("config_last_reload_success_timestamp_seconds", {}, {"configured": NOW}, NOW.timestamp()),
        ("polls_total", {"outcome": "success"}, {"counters": _polled((reading(), 1), (reading(), 1))}, 2),
        (
            "unusual_answers_total",
            {},
            {"counters": _polled((Reading((plug_reading(),), notes=("odd",)), 1))},
            1,
        ),
        ("broker_connected", {}, {}, 1),
        ("broker_connected", {}, {"connected": False}, 0),
        ("broker_connections_total", {}, {"counters": _counters(connects=4)}, 4),
        ("messages_published_total", {}, {"published": 12345678901}, 12345678901),
        ("fleet_shards", {}, {}, 16),
        ("fleet_shards_held", {}, {}, 2),
        (
            "fleet_members",
            {},
            {"fleet": replace(FLEET, members=(FleetMemberSnapshot("m1", "running", (), "", ""),))},
            1,
        ),
        ("fleet_engine_connected", {}, {}, 1),
        ("fleet_engine_connected", {}, {"fleet": replace(FLEET, connected=False)}, 0),
        ("fleet_beat_age_seconds", {}, {"fleet": replace(FLEET, answered=NOW - timedelta(seconds=9))}, 9),
        ("fleet_conflict", {}, {}, 0),
        ("fleet_conflict", {}, {"fleet": replace(FLEET, conflict="different")}, 1),
        ("fleet_shard_changes_total", {"change": "begun"}, {"counters": _counters(shards_begun=4)}, 4),
        ("fleet_shard_changes_total", {"change": "handed_over"}, {"counters": _counters(shards_handed_over=3)}, 3),
        ("fleet_shard_changes_total", {"change": "lost"}, {"counters": _counters(shards_lost=2)}, 2),
        ("messages_refused_total", {}, {"counters": _counters(rejected_messages=3)}, 3),
    ],
)
def test_metric_has_value_of_its_input(
    name: str, labels: dict[str, str], changes: dict[str, Any], value: float
) -> None:
    assert _value(metric_inputs(**changes), name, **labels) == value


@pytest.mark.parametrize("reason", FAILURES)
def test_failed_polls_are_labelled_with_their_reason(reason: Reason) -> None:
    polls = _values(metric_inputs(counters=_polled((failure(reason), 1))), "polls_total", "outcome")
    assert _nonzero(polls) == {reason.value: 1}


@pytest.mark.parametrize("reason", DisconnectReason)
def test_disconnects_are_labelled_with_their_reason(reason: DisconnectReason) -> None:
    counters = Counters()
    for _ in range(2):
        counters.broker_disconnected(BrokerDisconnected(reason, "connection refused", 1.0))
    failures = _values(metric_inputs(counters=counters), "broker_connection_failures_total", "trouble")
    assert _nonzero(failures) == {reason.value: 2}


def test_stations_and_plugs_are_counted_by_state() -> None:
    inputs = metric_inputs(
        station(plug("a", status="charging", power=7100.5, time=NOW - timedelta(seconds=40)), plug("b", Reason.STALE)),
        station(plug("c", status="idle", power=-100.0, time=NOW)),
        station(reason=Reason.UNAUTHORIZED),
        station(reason=None),
    )
    assert _nonzero(_values(inputs, "stations", "state")) == {"online": 2, "unauthorized": 1, "waiting": 1}
    assert _nonzero(_values(inputs, "plugs", "state")) == {"online": 2, "stale": 1}
    assert _value(inputs, "stations_configured") == 4
    assert _value(inputs, "plugs_charging") == 1
    assert _value(inputs, "power_watts") == 7000.5
    assert _value(inputs, "oldest_measurement_age_seconds") == 40


def test_fleet_metrics_exist_only_where_they_apply() -> None:
    def names(fleet: FleetSnapshot | None) -> set[str]:
        return {name for name, _ in samples(metric_inputs(fleet=fleet)) if "_fleet_" in name}

    assert names(None) == set()
    assert names(replace(FLEET, engine="static")) == {f"{PREFIX}fleet_shards", f"{PREFIX}fleet_shards_held"}
    assert len(names(FLEET)) == 7
    assert math.isnan(_value(metric_inputs(fleet=replace(FLEET, answered=None)), "fleet_beat_age_seconds"))


def test_measurement_age_without_measurement_is_nan() -> None:
    assert math.isnan(_value(metric_inputs(), "oldest_measurement_age_seconds"))


def test_measurement_age_of_future_measurement_is_zero() -> None:
    inputs = metric_inputs(station(plug(time=NOW + timedelta(minutes=3))))
    assert _value(inputs, "oldest_measurement_age_seconds") == 0


def test_duration_histogram_is_cumulative_and_complete() -> None:
    durations = [0.01, 0.02, 0.2, 3.0, 99.0]
    polls = [(reading(), seconds) for seconds in durations]
    found = samples(metric_inputs(counters=_polled(*polls, (failure(FAILURES[0]), 10.0))))
    name = PREFIX + "poll_duration_seconds"
    buckets = {dict(labels)["le"]: count for (metric, labels), count in found.items() if metric == name + "_bucket"}
    assert list(map(float, buckets)) == [*DURATION_BUCKETS, math.inf]
    assert list(buckets.values()) == [2, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6]
    assert found[name + "_count", frozenset()] == 6
    assert found[name + "_sum", frozenset()] == pytest.approx(sum(durations) + 10)


def test_every_label_value_exists_from_the_start() -> None:
    inputs = metric_inputs()
    outcomes = {reason.value for reason in STATION_REASONS} - {"online"} | {"success"}
    disconnect_reasons = {reason.value for reason in DisconnectReason}
    assert _values(inputs, "stations", "state") == dict.fromkeys(STATION_STATES, 0)
    assert _values(inputs, "plugs", "state") == dict.fromkeys(PLUG_STATES, 0)
    assert _values(inputs, "polls_total", "outcome") == dict.fromkeys(outcomes, 0)
    assert _values(inputs, "broker_connection_failures_total", "trouble") == dict.fromkeys(disconnect_reasons, 0)
    assert _values(inputs, "config_reloads_total", "result") == {"taken": 0, "refused": 0}


def _with_stations(count: int) -> MetricInputs:
    """Return the inputs of many stations, each with its own texts in all fields that the cloud may send."""
    return metric_inputs(
        *(
            station(
                plug(f"plug-uuid-{number}", label=f"plug-label-{number}", status=f"plug-status-{number}", time=NOW),
                reason=list(Reason)[number % 7],
            )
            for number in range(count)
        )
    )


def test_number_of_series_is_independent_of_stations() -> None:
    assert samples(_with_stations(500)).keys() == samples(_with_stations(0)).keys()
    assert len(samples(_with_stations(500))) < 120


def test_metrics_contain_no_text_of_single_stations() -> None:
    text = exposition(_with_stations(50))[0].decode()
    assert 'evse_mqtt_bridge_plugs{state="online"} 50.0' in text
    assert not re.search(r"plug-(uuid|label|status)", text)


def test_both_formats_are_valid_and_equal() -> None:
    counters = _polled((reading(), 0.3), (failure(Reason.NOT_FOUND), 0.1))
    inputs = metric_inputs(station(plug(time=NOW)), counters=counters)
    text, open_metrics = exposition(inputs)[0].decode(), exposition(inputs, _OPENMETRICS)[0].decode()
    in_open_metrics = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in _openmetrics(open_metrics)
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }
    assert in_open_metrics == {key: value for key, value in samples(text).items() if key[0].startswith(PREFIX)}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,application/xhtml+xml", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (_OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text;version=none", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0.0.0.x", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=" + "9" * 6000, "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=2.7.0", "text/plain; version=0.0.4; charset=utf-8"),
        (_PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        (";;;,=,==;version", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_format_is_the_one_of_the_accept_header(accept: str, content_type: str) -> None:
    text, actual = exposition(metric_inputs(), accept)
    assert actual == content_type
    assert b"# EOF" in text if "openmetrics" in content_type else b"# EOF" not in text


def test_metric_names_follow_the_conventions() -> None:
    for family in text_string_to_metric_families(exposition(metric_inputs())[0].decode()):
        name = family.name
        assert family.documentation.endswith(".")
        if name.startswith("process_"):
            continue
        assert re.fullmatch(r"evse_mqtt_bridge(_[a-z]+)+", name)
        assert not re.search(r"_(total|count|sum|bucket|ms|milliseconds|minutes|percent)$", name)
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)


def test_exposition_does_not_use_the_global_registry() -> None:
    exposition(metric_inputs())
    registered = {metric.name for metric in prometheus_client.REGISTRY.collect()}
    assert registered, "the library's own metrics"
    assert not {name for name in registered if name.startswith(PREFIX)}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_metrics() -> None:
    text = exposition(metric_inputs(station(plug(time=NOW))))[0]
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def _documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    rows = re.findall(r"^\| `(evse_mqtt_bridge_\w+)` \| (\w+) \| (.*?)\| \S", _PAGE.read_text(), re.MULTILINE)
    for name, kind, labels in rows:
        yield name, kind, frozenset(re.findall(r"`(\w+)`", labels))


def test_every_metric_is_documented_with_type_and_labels() -> None:
    metrics = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
        for family in text_string_to_metric_families(exposition(metric_inputs())[0].decode())
        if family.name.startswith(PREFIX)
    }
    documented = list(_documented())
    assert len(documented) == len(set(documented))
    assert set(documented) == metrics


def test_label_values_are_documented() -> None:
    page = _PAGE.read_text()
    for name, values in (
        ("polls_total", {reason.value for reason in FAILURES} | {"success"}),
        ("broker_connection_failures_total", {reason.value for reason in DisconnectReason}),
        ("config_reloads_total", {"taken", "refused"}),
    ):
        row = re.search(rf"^\| `{PREFIX}{name}` \| \w+ \| `\w+` \| (.*)$", page, re.MULTILINE)
        assert row
        assert values == set(re.findall(r"`(\w+)`", row[1]))


def test_process_metrics_are_documented() -> None:
    process_metrics = {name for name, _ in samples(metric_inputs()) if not name.startswith(PREFIX)}
    assert process_metrics == set(re.findall(r"`(process_\w+)`", _PAGE.read_text()))


def test_metrics_of_running_bridge_agree_with_snapshot(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Callable[..., BridgeProcess],
) -> None:
    port, rejected = free_port(), "f" * 32
    cloud.answer(EXAMPLE_EVSE, status_example())
    cloud.answer(rejected, {}, status=401)
    stations = [station_table(), station_table(rejected)]
    tables = config_tables(broker, cloud, stations, polling={"stale_after": 0}, http={"enabled": True, "port": port})
    bridge_process(write_config(tmp_path / "config.toml", tables))
    observer.wait_for("evse/bridge/availability", "online")
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
    observer.wait_for(f"evse/{rejected}/availability_reason", "unauthorized")

    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": _OPENMETRICS})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert _openmetrics(response.read().decode())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/picture", timeout=10) as response:
        snapshot = from_json(response.read())
    found = samples(text)

    def value(name: str, **labels: str) -> float:
        return found[PREFIX + name, frozenset(labels.items())]

    plugs = [plug for station in snapshot.stations for plug in station.plugs]
    available = [plug for plug in plugs if plug.reason is Reason.ONLINE]
    assert len(available) == len(status_example())
    assert value("stations", state="online") == value("stations", state="unauthorized") == 1
    assert value("plugs", state="online") == len(available)
    assert value("power_watts") == sum(plug.power or 0 for plug in available)
    assert value("broker_connected") == snapshot.broker.connected == 1
    assert value("healthy") == snapshot.health.healthy == 1
    assert value("polls_total", outcome="unauthorized") == 1
    assert value("polls_total", outcome="success") >= 1
    assert value("poll_duration_seconds_count") >= 2
    assert value("messages_published_total") >= len(plugs)
    assert value("start_time_seconds") == pytest.approx(snapshot.bridge.started.timestamp(), abs=0.001)
    assert not re.search(f"token-|{EXAMPLE_EVSE}|{rejected}", text)
