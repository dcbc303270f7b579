"""The dashboard and the alert rules ask for metrics that there are, by labels and values that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs

from evse_mqtt_bridge.observability.exposition import PREFIX
from tests.observability.samples import metric_inputs, samples

_ROOT = Path(__file__).parents[2]
_ALERTS = _ROOT / "deploy" / "prometheus" / "alerts.yaml"
_SCRAPE = _ROOT / "deploy" / "prometheus" / "scrape.yaml"
_DASHBOARD = _ROOT / "deploy" / "grafana" / "evse-mqtt-bridge.json"
_PAGE = _ROOT / "docs" / "monitoring.md"

_OF_A_TARGET = frozenset({"job", "instance"})
_NOT_OURS = frozenset({"up"})
_FUNCTIONS = frozenset(
    {"changes", "histogram_quantile", "increase", "max", "min", "min_over_time", "rate", "sum", "time"}
)
_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

_VALUES: dict[str, dict[str, set[str]]] = {}
for _name, _labels in samples(metric_inputs()):
    for _label, _value in [*_labels, ("job", ""), ("instance", "")]:
        _VALUES.setdefault(_name, {}).setdefault(_label, set()).add(_value)


def _rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(_ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(_DASHBOARD.read_text())
    return dashboard


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    for panel in _panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for note in _dashboard()["annotations"]["list"]:
        if "expr" in note:
            yield note["name"], note["expr"]


_EXPRESSIONS = list(_expressions())


def _wrong(expression: str) -> list[str]:
    """What is wrong with an expression, as far as that can be told without Prometheus."""
    wrong = [f"{a}{b} do not match" for a, b in ("()", "{}", "[]") if expression.count(a) != expression.count(b)]
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = re.findall(r"\b[a-z_]{2,}\b", re.sub(r"\{.*?\}|\[.*?\]|(?:by|without) \(.*?\)", "", bare))
    wrong += [f"there is no {name}" for name in names if name not in _VALUES.keys() | _FUNCTIONS | _NOT_OURS]
    for name, matchers in re.findall(r"([a-z_]+)\{(.*?)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', matchers):
            known = _VALUES.get(name, {"job": set(), "instance": set()})
            if label not in known:
                wrong.append(f"{name} has no label {label}")
            elif label not in _OF_A_TARGET:
                words = value.split("|") if operator.endswith("~") else [value]
                wrong += [f"{name} has no {label} {word}" for word in words if word not in known[label]]
    asked = re.findall(r"(?:by|without) \((.*?)\)", expression)
    for label in {label.strip() for group in asked for label in group.split(",")} - _OF_A_TARGET:
        if not any(label in known for name, known in _VALUES.items() if name in expression):
            wrong.append(f"nothing has the label {label}")
    return wrong


@pytest.mark.parametrize(("name", "expression"), _EXPRESSIONS, ids=[name for name, _ in _EXPRESSIONS])
def test_an_expression_asks_for_what_there_is(name: str, expression: str) -> None:
    assert _wrong(expression) == []
    assert _VALUES.keys() & set(re.findall(r"\w+", expression)) or name == "EvseMqttBridgeDown"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("evse_mqtt_bridge_polls == 0", "there is no evse_mqtt_bridge_polls"),
        ("sum(evse_mqtt_bridge_polls_total", "() do not match"),
        ('evse_mqtt_bridge_polls_total{result="success"}', "has no label result"),
        ('evse_mqtt_bridge_polls_total{outcome="ok"}', "has no outcome ok"),
        ('evse_mqtt_bridge_stations{state!~"online|wating"}', "has no state wating"),
        ("sum by (plug) (evse_mqtt_bridge_plugs)", "nothing has the label plug"),
        ("avg_rate(evse_mqtt_bridge_polls_total[5m])", "there is no avg_rate"),
        ('evse_mqtt_brige_plugs{state="stale"} > 0', "there is no evse_mqtt_brige_plugs"),
    ],
)
def test_a_wrong_expression_is_found(expression: str, words: str) -> None:
    assert any(words in wrong for wrong in _wrong(expression))


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(expression for _, expression in _EXPRESSIONS)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in _VALUES if name.startswith(PREFIX)}
    assert [name for name in sorted(families) if name not in shown] == []


# Alerts


@pytest.mark.parametrize("rule", _rules(), ids=[rule["alert"] for rule in _rules()])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[1-9]\d*m", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    assert len(rule["annotations"]["description"]) > 40
    assert set(re.findall(r"evse_mqtt_bridge_\w+", rule["annotations"]["description"])) <= _VALUES.keys()
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= _OF_A_TARGET


def test_settings_and_files_that_alerts_name_exist() -> None:
    text = " ".join(rule["annotations"]["description"] for rule in _rules())
    reference = (_ROOT / "docs" / "configuration.md").read_text()
    for setting in set(re.findall(r"\b(?:http|mqtt|cloud|polling)\.[a-z_]+\b", text)):
        section, key = setting.split(".")
        assert re.search(rf"\b{key}\b", reference.split(f"[{section}]", 1)[1]), setting
    for path in re.findall(r"\bdocs/[\w-]+\.md", text):
        assert (_ROOT / path).exists()


def test_alerts_are_documented_as_they_are() -> None:
    rows = re.findall(r"^\| `(EvseMqttBridge\w+)` \| (\w+) \| (\w+) \|", _PAGE.read_text(), re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in _rules()]


def test_the_job_that_alerts_expect_is_the_one_that_is_scraped() -> None:
    (job,) = yaml.safe_load(_SCRAPE.read_text())["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in _ALERTS.read_text()
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:9480"]


@_promtool
@pytest.mark.parametrize(
    "arguments", [("rules", _ALERTS), ("config", "--syntax-only", _SCRAPE)], ids=["rules", "scrape"]
)
def test_promtool_accepts(arguments: tuple[str | Path, ...]) -> None:
    checked = subprocess.run(["promtool", "check", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


_FIRING: Mapping[str, tuple[dict[str, str], dict[str, str]]] = {
    # the series with which an alert fires, and with which it does not; of 90 minutes, one value a minute
    "EvseMqttBridgeDown": ({'up{job="evse-mqtt-bridge"}': "0x90"}, {'up{job="evse-mqtt-bridge"}': "1x90"}),
    "EvseMqttBridgeUnhealthy": ({"healthy": "0x90"}, {"healthy": "1x90"}),
    "EvseMqttBridgeRestarts": ({"start_time_seconds": "1+60x90"}, {"start_time_seconds": "1x45 2x45"}),
    "EvseMqttBridgeBrokerLost": ({"broker_connected": "0x90"}, {"broker_connected": "1x88 0x1"}),
    "EvseMqttBridgeBrokerUnsteady": ({"broker_connections_total": "1+1x90"}, {"broker_connections_total": "1x45 2x45"}),
    "EvseMqttBridgePublishesRefused": ({"messages_refused_total": "0x80 5x10"}, {"messages_refused_total": "5x90"}),
    "EvseMqttBridgeCloudLost": (
        {'stations{state="online"}': "4x90", 'stations{state="unreachable"}': "6x90", "stations_configured": "10x90"},
        {'stations{state="online"}': "6x90", 'stations{state="unreachable"}': "4x90", "stations_configured": "10x90"},
    ),
    "EvseMqttBridgeStationsUnavailable": (
        {'stations{state="online"}': "9x90", 'stations{state="server_error"}': "1x90"},
        {
            'stations{state="online"}': "9x90",
            'stations{state="server_error"}': "0x90",
            'stations{state="waiting"}': "1x90",
        },
    ),
    "EvseMqttBridgeStationsRejected": (
        {'stations{state="not_found"}': "1x90"},
        {'stations{state="unreachable"}': "1x90"},
    ),
    "EvseMqttBridgePlugsStale": ({'plugs{state="stale"}': "2x90"}, {'plugs{state="missing"}': "2x90"}),
    "EvseMqttBridgeMeasurementsOld": (
        {"oldest_measurement_age_seconds": "1801x90"},
        {"oldest_measurement_age_seconds": "1700x90"},
    ),
    "EvseMqttBridgePollsFailing": (
        {'polls_total{outcome="success"}': "0+70x90", 'polls_total{outcome="unreachable"}': "0+30x90"},
        {'polls_total{outcome="success"}': "0+90x90", 'polls_total{outcome="unreachable"}': "0+10x90"},
    ),
    "EvseMqttBridgePollsHeld": ({"polls_held": "1x90"}, {"polls_held": "1x84 0 1x5"}),
    "EvseMqttBridgePollsLate": ({"poll_delay_seconds": "31x90"}, {"poll_delay_seconds": "30x90"}),
    "EvseMqttBridgeLoopLag": ({"event_loop_lag_seconds": "1.5x90"}, {"event_loop_lag_seconds": "0.9x90"}),
    "EvseMqttBridgeReloadRefused": (
        {"config_last_reload_successful": "1x45 0x45"},
        {"config_last_reload_successful": "0x45 1x45"},
    ),
}


def _case(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """A test as promtool takes it: whether an alert fires once these series have gone on for an hour and a half."""
    (severity,) = [rule["labels"]["severity"] for rule in _rules() if rule["alert"] == alert]
    known = [(name if name.startswith("up{") else PREFIX + name, values) for name, values in series.items()]
    with_instance = [
        (name.replace("{", '{instance="a",') if "{" in name else name + '{instance="a"}', values)
        for name, values in known
    ]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in with_instance],
        # Whether it fires at all; what it says then is for people.
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}"}})',
                "eval_time": "90m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def test_every_alert_is_tried() -> None:
    assert _FIRING.keys() == {rule["alert"] for rule in _rules()}


@_promtool
def test_alerts_fire_when_they_should_and_not_otherwise(tmp_path: Path) -> None:
    cases = [
        _case(alert, series, fires=fires)
        for alert, both in _FIRING.items()
        for fires, series in zip((True, False), both, strict=True)
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(_ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    tested = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


# The dashboard


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    panels = _dashboard()["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_data_source_is_chosen_where_the_dashboard_is_used() -> None:
    dashboard = _dashboard()
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for panel in _panels():
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$\{?([a-z]\w*)", _DASHBOARD.read_text()))
    assert used == variables.keys()
    assert not re.search(r"https?://", _DASHBOARD.read_text())


def test_every_expression_of_the_dashboard_is_of_the_chosen_bridges() -> None:
    for name, expression in _EXPRESSIONS:
        if not name.startswith("EvseMqttBridge"):
            metrics = re.findall(rf"\b(?:{PREFIX}|process_)\w+", expression)
            assert expression.count('{job="$job",instance=~"$instance"') == len(metrics) > 0


@_promtool
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(_EXPRESSIONS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
