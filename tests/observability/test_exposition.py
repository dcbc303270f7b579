"""What Prometheus gets: strictly read, in both formats, complete from the start, bounded, and as documented."""

import math
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reading, Reason
from evse_mqtt_bridge.mqtt.connection import DisconnectReason
from evse_mqtt_bridge.observability.aggregates import PLUG_STATES, STATION_STATES
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from evse_mqtt_bridge.observability.exposition import PREFIX, Observed, exposition
from evse_mqtt_bridge.observability.health import HealthInputs
from evse_mqtt_bridge.observability.snapshot import from_json
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, config_tables, free_port, write_config
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import station_table
from tests.harness.samples import FAILURES, failure, plug_reading, reading
from tests.observability.samples import NOW, observed, plug, samples, station

_PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
_OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def _openmetrics(text: str) -> list[Metric]:
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # so it is


def _value(seen: Observed, name: str, **labels: str) -> float:
    return samples(seen)[PREFIX + name, frozenset(labels.items())]


def _labels(seen: Observed, name: str, label: str) -> dict[str, float]:
    return {dict(labels)[label]: value for (known, labels), value in samples(seen).items() if known == PREFIX + name}


def _counters(*polls: tuple[object, float], **counts: Any) -> Counters:  # noqa: ANN401  # as the tables name them
    counters = Counters(**counts)
    for outcome, seconds in polls:
        counters.polled(outcome, seconds)  # type: ignore[arg-type]  # the tables hold outcomes
    return counters


@pytest.mark.parametrize(
    ("name", "labels", "changed", "value"),
    [
        ("build_info", {"version": "1.2.3", "python": "3.13.1", "transport": "libcurl"}, {}, 1),
        ("start_time_seconds", {}, {"started": NOW - timedelta(seconds=90)}, NOW.timestamp() - 90),
        ("healthy", {}, {}, 1),
        ("healthy", {}, {"vitals": HealthInputs(0, 100, 100, 10, held=False, connected=True)}, 0),
        ("event_loop_lag_seconds", {}, {"vitals": HealthInputs(0.25, 0, 0, 10, held=False, connected=True)}, 0.25),
        ("poll_delay_seconds", {}, {"vitals": HealthInputs(0, 3.5, 0, 10, held=False, connected=True)}, 3.5),
        ("polls_held", {}, {"vitals": HealthInputs(0, 0, 0, 10, held=True, connected=True)}, 1),
        ("polls_held", {}, {}, 0),
        ("config_reloads_total", {"result": "taken"}, {"counters": _counters(reloads=Counter(taken=2, refused=1))}, 2),
        (
            "config_reloads_total",
            {"result": "refused"},
            {"counters": _counters(reloads=Counter(taken=2, refused=1))},
            1,
        ),
        ("config_last_reload_successful", {}, {"accepted": False}, 0),
        ("config_last_reload_successful", {}, {}, 1),
        ("config_last_reload_success_timestamp_seconds", {}, {"configured": NOW}, NOW.timestamp()),
        ("polls_total", {"outcome": "success"}, {"counters": _counters((reading(), 1), (reading(), 1))}, 2),
        ("unusual_answers_total", {}, {"counters": _counters((Reading((plug_reading(),), notes=("odd",)), 1))}, 1),
        ("broker_connected", {}, {}, 1),
        ("broker_connected", {}, {"connected": False}, 0),
        ("broker_connections_total", {}, {"counters": _counters(connected=4)}, 4),
        ("messages_published_total", {}, {"published": 12345678901}, 12345678901),
        ("messages_refused_total", {}, {"counters": _counters(refused=3)}, 3),
    ],
)
def test_what_is_seen_is_told(name: str, labels: dict[str, str], changed: dict[str, Any], value: float) -> None:
    assert _value(observed(**changed), name, **labels) == value


@pytest.mark.parametrize("reason", FAILURES)
def test_a_failure_is_told_by_its_reason(reason: Reason) -> None:
    polls = _labels(observed(counters=_counters((failure(reason), 1))), "polls_total", "outcome")
    assert {outcome for outcome, count in polls.items() if count} == {reason.value}


@pytest.mark.parametrize("trouble", DisconnectReason)
def test_the_end_of_a_connection_is_told_by_its_trouble(trouble: DisconnectReason) -> None:
    counters = Counters()
    counters.ended[trouble.value] += 2
    failures = _labels(observed(counters=counters), "broker_connection_failures_total", "trouble")
    assert {name: count for name, count in failures.items() if count} == {trouble.value: 2}


def test_stations_and_plugs_are_told_as_they_are() -> None:
    seen = observed(
        station(plug("a", status="charging", power=7100.5, time=NOW - timedelta(seconds=40)), plug("b", Reason.STALE)),
        station(plug("c", status="idle", power=-100.0, time=NOW)),
        station(reason=Reason.UNAUTHORIZED),
        station(reason=None),
    )
    stations, plugs = _labels(seen, "stations", "state"), _labels(seen, "plugs", "state")
    assert {state: n for state, n in stations.items() if n} == {"online": 2, "unauthorized": 1, "waiting": 1}
    assert {state: n for state, n in plugs.items() if n} == {"online": 2, "stale": 1}
    assert _value(seen, "stations_configured") == 4
    assert _value(seen, "plugs_charging") == 1
    assert _value(seen, "power_watts") == 7000.5
    assert _value(seen, "oldest_measurement_age_seconds") == 40


def test_without_a_measurement_there_is_no_age() -> None:
    assert math.isnan(_value(observed(), "oldest_measurement_age_seconds"))


def test_a_measurement_of_the_near_future_is_not_younger_than_none() -> None:
    seen = observed(station(plug(time=NOW + timedelta(minutes=3))))
    assert _value(seen, "oldest_measurement_age_seconds") == 0


def test_the_histogram_is_cumulative_and_counts_every_poll() -> None:
    took = [0.01, 0.02, 0.2, 3.0, 99.0]
    seen = samples(
        observed(counters=_counters(*((reading(), seconds) for seconds in took), (failure(FAILURES[0]), 10.0)))
    )
    name = PREFIX + "poll_duration_seconds"
    buckets = {dict(labels)["le"]: count for (known, labels), count in seen.items() if known == name + "_bucket"}
    assert list(map(float, buckets)) == [*DURATION_BUCKETS, math.inf]
    assert list(buckets.values()) == [2, 2, 2, 3, 3, 3, 3, 4, 5, 5, 6]
    assert seen[name + "_count", frozenset()] == 6
    assert seen[name + "_sum", frozenset()] == pytest.approx(sum(took) + 10)


def test_each_value_of_each_label_is_there_from_the_start() -> None:
    seen = observed()
    words = {reason.value for reason in STATION_REASONS}
    assert _labels(seen, "stations", "state") == dict.fromkeys(STATION_STATES, 0)
    assert _labels(seen, "plugs", "state") == dict.fromkeys(PLUG_STATES, 0)
    assert _labels(seen, "polls_total", "outcome") == dict.fromkeys(words - {"online"} | {"success"}, 0)
    troubles = dict.fromkeys((trouble.value for trouble in DisconnectReason), 0)
    assert _labels(seen, "broker_connection_failures_total", "trouble") == troubles
    assert _labels(seen, "config_reloads_total", "result") == {"taken": 0, "refused": 0}


def _crowd(count: int) -> Observed:
    """Many stations, each with words of its own wherever there can be any."""
    return observed(
        *(
            station(
                plug(f"plug-uuid-{number}", label=f"plug-label-{number}", status=f"plug-status-{number}", time=NOW),
                reason=list(Reason)[number % 7],
            )
            for number in range(count)
        )
    )


def test_the_series_are_as_many_whatever_the_stations_say() -> None:
    assert samples(_crowd(500)).keys() == samples(_crowd(0)).keys()
    assert len(samples(_crowd(500))) < 120


def test_nothing_of_a_single_station_is_told() -> None:
    text = exposition(_crowd(50))[0].decode()
    assert 'evse_mqtt_bridge_plugs{state="online"} 50.0' in text
    assert not re.search(r"plug-(uuid|label|status)", text)


def test_both_formats_are_read_strictly_and_tell_the_same() -> None:
    seen = observed(station(plug(time=NOW)), counters=_counters((reading(), 0.3), (failure(Reason.NOT_FOUND), 0.1)))
    plain, open_ = exposition(seen)[0].decode(), exposition(seen, _OPENMETRICS)[0].decode()
    read = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in _openmetrics(open_)
        for sample in family.samples
    }
    lasting = {key: value for key, value in read.items() if key[0].startswith(PREFIX)}
    assert lasting == {key: value for key, value in samples(plain).items() if key[0].startswith(PREFIX)}


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
def test_the_format_is_the_one_that_was_asked_for(accept: str, content_type: str) -> None:
    text, told = exposition(observed(), accept)
    assert told == content_type
    assert b"# EOF" in text if "openmetrics" in content_type else b"# EOF" not in text


def test_names_follow_the_conventions() -> None:
    for family in text_string_to_metric_families(exposition(observed())[0].decode()):
        name = family.name
        assert family.documentation.endswith(".")
        if name.startswith("process_"):
            continue
        assert re.fullmatch(r"evse_mqtt_bridge(_[a-z]+)+", name)
        assert not re.search(r"_(total|count|sum|bucket|ms|milliseconds|minutes|percent)$", name)
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples)


def test_no_registry_is_shared() -> None:
    exposition(observed())
    shared = {metric.name for metric in prometheus_client.REGISTRY.collect()}
    assert shared  # the library's own
    assert not {name for name in shared if name.startswith(PREFIX)}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    text = exposition(observed(station(plug(time=NOW))))[0]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def _documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    rows = re.findall(r"^\| `(evse_mqtt_bridge_\w+)` \| (\w+) \| (.*?)\| \S", _PAGE.read_text(), re.MULTILINE)
    for name, kind, labels in rows:
        yield name, kind, frozenset(re.findall(r"`(\w+)`", labels))


def test_each_metric_is_documented_with_its_type_and_labels() -> None:
    told = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels),
        )
        for family in text_string_to_metric_families(exposition(observed())[0].decode())
        if family.name.startswith(PREFIX)
    }
    documented = list(_documented())
    assert len(documented) == len(set(documented))
    assert set(documented) == told


def test_the_words_of_labels_are_documented() -> None:
    page = _PAGE.read_text()
    for name, words in (
        ("polls_total", {reason.value for reason in FAILURES} | {"success"}),
        ("broker_connection_failures_total", {trouble.value for trouble in DisconnectReason}),
        ("config_reloads_total", {"taken", "refused"}),
    ):
        row = re.search(rf"^\| `{PREFIX}{name}` \| \w+ \| `\w+` \| (.*)$", page, re.MULTILINE)
        assert row
        assert words == set(re.findall(r"`(\w+)`", row[1]))


def test_the_processs_own_metrics_are_documented() -> None:
    own = {name for name, _ in samples(observed()) if not name.startswith(PREFIX)}
    assert own == set(re.findall(r"`(process_\w+)`", _PAGE.read_text()))


def test_a_running_bridge_tells_what_its_picture_shows(
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
        picture = from_json(response.read())
    told = samples(text)

    def value(name: str, **labels: str) -> float:
        return told[PREFIX + name, frozenset(labels.items())]

    plugs = [plug for station in picture.stations for plug in station.plugs]
    available = [plug for plug in plugs if plug.reason is Reason.ONLINE]
    assert len(available) == len(status_example())
    assert value("stations", state="online") == value("stations", state="unauthorized") == 1
    assert value("plugs", state="online") == len(available)
    assert value("power_watts") == sum(plug.power or 0 for plug in available)
    assert value("broker_connected") == picture.broker.connected == 1
    assert value("healthy") == picture.health.healthy == 1
    assert value("polls_total", outcome="unauthorized") == 1
    assert value("polls_total", outcome="success") >= 1
    assert value("poll_duration_seconds_count") >= 2
    assert value("messages_published_total") >= len(plugs)
    assert value("start_time_seconds") == pytest.approx(picture.bridge.started.timestamp(), abs=0.001)
    assert not re.search(f"token-|{EXAMPLE_EVSE}|{rejected}", text)
