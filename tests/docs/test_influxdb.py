"""The Telegraf script and the dashboard of docs/influxdb.md match the bridge, Node-RED's points and InfluxDB."""

import json
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.contract import READING_FIELDS
from evse_mqtt_bridge.publishing.outputs.plug_values import plug_state
from evse_mqtt_bridge.publishing.payload_schemas import examples
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics, covers
from tests.harness.net import HOST, free_port, wait_until_listening

_ROOT = Path(__file__).parents[2]
_TELEGRAF: dict[str, Any] = tomllib.loads((_ROOT / "deploy" / "telegraf" / "evse.conf").read_text())
_DASHBOARD: dict[str, Any] = json.loads((_ROOT / "deploy" / "grafana" / "evse-values.json").read_text())
_PAGES = {name: (_ROOT / "docs" / f"{name}.md").read_text() for name in ("influxdb", "node-red")}
_TOPIC = "evse/garage-north/right/state"
_FIELDS = {"available", "reason", *(field.name for field in READING_FIELDS)} - {"time", "label", "iec61851"}
_ARRIVED = 1_795_919_335_241_787_251


def _point(payload: str) -> tuple[dict[str, object], int] | None:
    """Return the fields and the time of the point that the script makes; Starlark is a dialect of Python."""
    names: dict[str, Any] = {}

    def parse_time(text: str) -> SimpleNamespace:
        return SimpleNamespace(unix_nano=round(datetime.fromisoformat(text).timestamp() * 1e6) * 1000)

    modules = {
        ("json.star", "json"): SimpleNamespace(decode=json.loads),
        ("time.star", "time"): SimpleNamespace(parse_time=parse_time),
    }
    names["load"] = lambda module, name: names.update({name: modules[module, name]})
    names["type"] = lambda value: type(value).__name__
    (processor,) = _TELEGRAF["processors"]["starlark"]
    exec(processor["source"], names)  # noqa: S102  # a file of this repository
    metric = SimpleNamespace(fields={"value": payload}, time=_ARRIVED)
    made = names["apply"](metric)
    assert made in (metric, None)
    return (metric.fields, metric.time) if made else None


def _line(payload: str) -> str:
    """Return a point in InfluxDB's line protocol."""
    point = _point(payload)
    assert point is not None
    fields, at = point
    texts = {True: "true", False: "false"}
    pairs = [
        f"{key}={texts[value] if isinstance(value, bool) else json.dumps(value).removesuffix('.0')}"
        for key, value in fields.items()
    ]
    return f"evse,station=garage-north,plug=right {','.join(pairs)} {at}"


def _example() -> str:
    return examples()["plug.state"].decode()


def _queries() -> Iterator[tuple[str, str]]:
    for variable in _DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]
    for panel in _DASHBOARD["panels"]:
        for each in panel["targets"]:
            yield f"{panel['title']} {each['refId']}", each["query"]


_QUERIES = list(_queries())


def test_telegraf_reads_the_state_of_every_plug() -> None:
    (source,) = _TELEGRAF["inputs"]["mqtt_consumer"]
    (parsing,) = source["topic_parsing"]
    assert source["topics"] == [parsing["topic"]]
    assert covers(parsing["topic"], _TOPIC)
    tags = dict(zip(parsing["tags"].split("/"), _TOPIC.split("/"), strict=True))
    assert Topics("evse").read(_TOPIC) == PlugTopic(tags["station"], tags["plug"], "state")
    assert (source["name_override"], source["data_format"], source["data_type"]) == ("evse", "value", "string")


def test_points_of_telegraf_and_node_red_are_the_same() -> None:
    line = _line(_example())
    assert line in _PAGES["influxdb"]
    assert line.removesuffix("000000") in _PAGES["node-red"], "with milliseconds"


def test_numbers_are_always_floats() -> None:
    point = _point(_example())
    assert point is not None
    assert {key: type(value) for key, value in point[0].items() if key in ("power", "current_l1", "charging")} == {
        "power": float,
        "current_l1": float,
        "charging": bool,
    }


def test_unknown_values_are_not_in_the_point() -> None:
    empty = plug_state(PlugState("p1", reading=PlugReading("p1"), reason=Reason.ONLINE)).decode()
    assert _point(empty) == ({"available": True, "reason": "online"}, _ARRIVED)


@pytest.mark.parametrize("status", ["offline", "charging"])
def test_unavailable_plug_has_no_values_and_time_of_arrival(status: str) -> None:
    state = {**json.loads(_example()), "status": status, "availability": "offline", "availability_reason": "stale"}
    assert _point(json.dumps(state)) == ({"available": False, "reason": "stale", "status": status}, _ARRIVED)


def test_removed_plug_makes_no_point() -> None:
    assert _point("") is None


def test_script_writes_every_value_of_the_contract() -> None:
    point = _point(_example())
    assert point is not None
    assert point[0].keys() == _FIELDS


def test_panels_use_existing_fields_and_the_selection() -> None:
    for name, query in _QUERIES:
        named = set(re.findall(r'"(\w+)"', query)) - {"evse", "station", "plug"}
        assert named <= _FIELDS, name
        if "SHOW" not in query:
            assert '"station" =~ /^$station$/ AND "plug" =~ /^$plug$/' in query, name
            assert "$timeFilter" in query
            assert "time($__interval)" in query
    for panel in _DASHBOARD["panels"]:
        assert panel["interval"] == "2m", "each interval has a heartbeat"


def test_panels_have_unique_ids_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in _DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    occupied: set[tuple[int, int]] = set()
    for panel in _DASHBOARD["panels"]:
        area = panel["gridPos"]
        columns, rows = range(area["x"], area["x"] + area["w"]), range(area["y"], area["y"] + area["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert area["x"] + area["w"] <= 24
        assert not cells & occupied, panel["title"]
        occupied |= cells
        assert f"{panel['title']}" in _PAGES["influxdb"]


def test_dashboard_lets_the_user_choose_the_data_source() -> None:
    source = {"type": "influxdb", "uid": "${datasource}"}
    for panel in _DASHBOARD["panels"]:
        assert panel["datasource"] == source
        assert all(each["datasource"] == source and each["rawQuery"] for each in panel["targets"])
    variables = {variable["name"]: variable for variable in _DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "station", "plug"}
    assert not re.search(r"https?://", json.dumps(_DASHBOARD))


def test_colours_cover_every_status_and_reason() -> None:
    colours = {
        panel["title"]: list(panel["fieldConfig"]["defaults"]["mappings"][0]["options"])
        for panel in _DASHBOARD["panels"]
        if panel["type"] == "state-timeline"
    }
    assert colours == {"Status": list(STATUSES), "Availability": [reason.value for reason in Reason]}


@pytest.fixture
def influxdb(tmp_path: Path) -> Iterator[str]:
    """A running InfluxDB 1 with the database `evse`; return its URL."""
    program = shutil.which("influxd")
    if program is None:
        pytest.skip("influxd is not installed")
    port, other = free_port(), free_port()
    (tmp_path / "influx.conf").write_text(
        f'reporting-disabled = true\nbind-address = "{HOST}:{other}"\n'
        f'[meta]\ndir = "{tmp_path}/meta"\n[data]\ndir = "{tmp_path}/data"\nwal-dir = "{tmp_path}/wal"\n'
        f'[http]\nbind-address = "{HOST}:{port}"\n[monitor]\nstore-enabled = false\n'
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([program, "-config", tmp_path / "influx.conf"], stdout=log, stderr=log)
        try:
            wait_until_listening(port, lambda: None if process.poll() is None else "influxd exited")
            url = f"http://{HOST}:{port}"
            _query(url, "CREATE DATABASE evse")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _query(url: str, query: str) -> list[Any]:
    with urlopen(Request(f"{url}/query?{urlencode({'db': 'evse', 'q': query})}", b""), timeout=10) as answer:
        (result,) = json.load(answer)["results"]
    assert "error" not in result, result
    series: list[Any] = result.get("series", [])
    return series


def test_influxdb_answers_every_query_of_the_dashboard(influxdb: str) -> None:
    now = time.time_ns() - 10**9
    left = {**json.loads(_example()), "power": 3600.5, "time": None}
    lines = [
        re.sub(r" \d+$", f" {now}", _line(_example())),
        re.sub(r"\d+$", str(now), _line(json.dumps(left)).replace("plug=right", "plug=left")),
    ]
    with urlopen(Request(f"{influxdb}/write?db=evse&precision=ns", "\n".join(lines).encode()), timeout=10) as answer:
        assert answer.status == 204
    for name, query in _QUERIES:
        sent = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "2m")
        series = _query(influxdb, sent.replace("$station", "garage-north|other").replace("$plug", ".*"))
        values = [row[-1] for one in series for row in one["values"] if row[-1] is not None]
        expected = {"station": ["garage-north"], "plug": ["left", "right"], "Power of all plugs A": [10707.5]}
        assert values == expected.get(name, values), name
        assert values, name
