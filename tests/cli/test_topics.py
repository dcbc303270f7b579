"""`topics`: its four formats, and the sources of the plugs."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evse_mqtt_bridge.cli.actions.topics import CSV_COLUMNS
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness import CloudServer, Mosquitto, Observer, config_tables, station_table, write_config
from tests.harness.asyncapi import channel_by_topic, document_errors
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS, status_example

_IDLE, _CHARGING = EXAMPLE_PLUGS
_OTHER = "b" * 32
_TABLES: dict[str, Any] = {
    "mqtt": {"host": "localhost", "username": "user-name", "password": "pass-word"},
    "stations": [
        station_table(name="Garage north", alias="garage-north", plugs={_CHARGING: "left"}),
        station_table(_OTHER),
    ],
}
_SECRETS = ("user-name", "pass-word", "token-")


def _topics(config: Path, *options: str, columns: int | None = None) -> Result:
    environ = {"COLUMNS": None if columns is None else str(columns)}  # readline, which pytest loads, may have set it
    result = CliRunner().invoke(cli, ["topics", "--config", str(config), *options], env=environ)
    for secret in _SECRETS:
        assert secret not in result.output + result.stderr
    return result


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """A configuration of two stations, one with an alias for one of its plugs; broker and cloud do not answer."""
    return write_config(tmp_path / "config.toml", _TABLES)


def test_topics_text_has_a_line_per_topic(offline: Path) -> None:
    result = _topics(offline)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"evse/garage-north/left/power +number +W +power, negative .*", lines[6])
    assert [line.split()[0] for line in lines if "/power " in line] == [
        "evse/garage-north/left/power",
        f"evse/{_OTHER}/{{plug}}/power",
    ]
    assert not any(line.startswith("homeassistant/") for line in lines)
    assert result.stderr.splitlines() == [
        "the topics for Home Assistant are not listed; --discovery lists them",
        "only plugs that have an alias are listed; --online lists all plugs",
    ]
    assert "`" not in result.stdout


def test_topics_discovery_adds_the_topics_of_discovery(offline: Path) -> None:
    result = _topics(offline, "--discovery")
    lines = [line.split()[0] for line in result.stdout.splitlines()]
    assert sum(line.startswith("homeassistant/") for line in lines) == 1 + 2 * (2 + 16)
    plain = [line.split()[0] for line in _topics(offline).stdout.splitlines()]
    assert [line for line in lines if line.startswith("evse/")] == plain
    assert "--discovery" not in result.stderr
    assert _topics(offline, "--discovery", "--csv").exit_code == 2


def test_topics_narrow_terminal_groups_by_prefix(offline: Path) -> None:
    lines = _topics(offline, columns=80).stdout.splitlines()
    assert lines[:4] == [
        "evse/bridge/",
        "  availability  text         online while the bridge is connected, else offline",
        "                             (last will)",
        "  info          json         version, contract version, start time and number of",
    ]
    assert "evse/garage-north/left/" in lines
    assert "  power                number   W   power, negative while discharging" in lines
    assert f"evse/{_OTHER}/{{plug}}/" in lines
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines if re.match(r"  \S", line)]
    assert names == [line.split()[0].rpartition("/")[2] for line in _topics(offline).stdout.splitlines()]


def test_topics_very_narrow_terminal_stays_readable(offline: Path) -> None:
    lines = _topics(offline, columns=40).stdout.splitlines()
    assert lines[1:4] == [
        "  availability  text",
        "    online while the bridge is",
        "    connected, else offline (last will)",
    ]
    assert _topics(offline, columns=1).exit_code == 0
    assert [line for line in lines if len(line) > 40] == [f"evse/{_OTHER}/{{plug}}/"]


def test_topics_json_lists_the_topics_of_the_text(offline: Path) -> None:
    content = json.loads(_topics(offline, "--json").stdout)
    assert content["contract"] == 1
    assert [row["topic"] for row in content["topics"]] == [
        line.split()[0] for line in _topics(offline, "--discovery").stdout.splitlines()
    ]
    assert {row["topic"]: row for row in content["topics"]}["evse/garage-north/left/power"] == {
        "channel": "plug.power",
        "topic": "evse/garage-north/left/power",
        "type": "number",
        "unit": "W",
        "description": "power, negative while discharging",
        "device": "Garage north left",
        "quality_topic": "evse/garage-north/left/availability",
        "time_topic": "evse/garage-north/left/time",
        "qos": 1,
        "retained": True,
    }


def test_topics_csv_is_a_tag_list_of_plain_values(offline: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(_topics(offline, "--csv").stdout)))
    by_topic = {row["topic"]: row for row in rows}
    assert by_topic["evse/garage-north/left/current_l2"] == {
        "topic": "evse/garage-north/left/current_l2",
        "type": "number",
        "unit": "A",
        "description": "current of phase 2",
        "quality_topic": "evse/garage-north/left/availability",
        "time_topic": "evse/garage-north/left/time",
        "device": "Garage north left",
    }
    assert {row["type"] for row in rows} == {"number", "boolean", "text", "time"}
    assert all(row["quality_topic"] in by_topic for row in rows if row["quality_topic"])
    assert not [topic for topic in by_topic if topic.startswith("homeassistant/") or topic.endswith("/state")]


def test_docs_topics_explain_every_csv_column() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "topics.md").read_text()
    table = text.partition("### Tag lists")[2].partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CSV_COLUMNS)


def test_topics_asyncapi_is_a_valid_document(offline: Path) -> None:
    content = json.loads(_topics(offline, "--asyncapi").stdout)
    assert document_errors(content) == []
    assert content["servers"]["broker"]["host"] == "localhost:1883"
    assert "login" in content["components"]["securitySchemes"]
    assert content["components"]["parameters"]["plug"]["examples"] == ["left"]


def test_topics_two_formats_are_a_usage_error(offline: Path) -> None:
    result = _topics(offline, "--json", "--csv")
    assert result.exit_code == 2
    assert "exclude" in result.stderr


def test_topics_wrong_configuration_exits_with_78(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.toml", {"mqtt": {"hots": "localhost"}, "stations": []})
    result = _topics(config)
    assert (result.exit_code, result.stdout) == (78, "")
    assert "hots" in result.stderr


def test_topics_no_stations_lists_topics_of_the_bridge(tmp_path: Path) -> None:
    tables = {"mqtt": {"host": "localhost"}, "homeassistant": {"enabled": False}, "stations": []}
    result = _topics(write_config(tmp_path / "config.toml", tables), "--online")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["evse/bridge/availability", "evse/bridge/info"]
    assert (result.exit_code, result.stderr) == (0, "")


# --online


@pytest.fixture
def cloud_only(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Path:
    """A configuration of the example station. No bridge published on the broker; the API requires the token."""
    cloud.answer(EXAMPLE_EVSE, status_example(), token=f"token-{EXAMPLE_EVSE}")
    stations = [station_table(alias="north", plugs={_CHARGING: "left"})]
    return write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations))


def _publish_manifest(
    observer: Observer, availability: str, plugs: dict[str, str], owner: str = "evse-mqtt-bridge"
) -> None:
    """Publish the manifest entries of a bridge."""
    topics = Topics("evse")
    info = {
        "uuid": EXAMPLE_EVSE,
        "plugs": {uuid: {"topic": topic, "label": None} for uuid, topic in plugs.items()},
        "published_by": owner,
        "discovery": None,
    }
    observer.publish(topics.station("north", "info"), json.dumps(info), retain=True)
    observer.publish(topics.availability, availability, retain=True)


def _plugs(config: Path) -> list[str]:
    """Return the topic levels of the plugs that --online finds."""
    result = _topics(config, "--asyncapi", "--online")
    assert (result.exit_code, result.stderr) == (0, "")
    channels = channel_by_topic(json.loads(result.stdout))
    return [topic.split("/")[2] for topic, channel in channels.items() if channel == "plug.power"]


def test_topics_online_bridge_running_polls_nothing(cloud_only: Path, cloud: CloudServer, observer: Observer) -> None:
    # one plug with an alias that the bridge has not reloaded yet, and one that is missing in the cloud's responses
    _publish_manifest(observer, "online", {_CHARGING: "right", "c" * 32: "c" * 32})
    assert _plugs(cloud_only) == ["left", "c" * 32]
    assert cloud.requests == []


@pytest.mark.parametrize(
    ("availability", "plugs", "owner"),
    [
        ("offline", {_CHARGING: "left"}, "evse-mqtt-bridge"),
        ("online", {}, "evse-mqtt-bridge"),
        ("online", {"d" * 32: "left"}, "another-bridge"),
    ],
    ids=["offline", "not polled yet", "another bridge"],
)
def test_topics_online_no_manifest_polls_the_api(
    cloud_only: Path, cloud: CloudServer, observer: Observer, availability: str, plugs: dict[str, str], owner: str
) -> None:
    _publish_manifest(observer, availability, plugs, owner)
    assert _plugs(cloud_only) == [_IDLE, "left"]
    assert len(cloud.requests) == 1


def test_topics_online_broker_down_polls_the_api(cloud_only: Path, broker: Mosquitto) -> None:
    broker.stop()
    assert _plugs(cloud_only) == [_IDLE, "left"]


def test_topics_online_unknown_plugs_reports_after_the_list(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer
) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    cloud.answer(_OTHER, [], status=401)
    stations = [station_table(), station_table(_OTHER, name="Garage south")]
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations))
    broker.stop()
    result = _topics(config, "--online")
    assert result.exit_code == 69
    assert f"evse/{EXAMPLE_EVSE}/{_IDLE}/power " in result.stdout
    assert f"evse/{_OTHER}/{{plug}}/power " in result.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"broker 127.0.0.1:{broker.port}: ")
    assert lines[1].startswith("Garage south: unauthorized")
    assert "Traceback" not in result.stderr
