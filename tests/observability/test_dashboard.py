"""The dashboard and the alert rules use only metrics, labels and label values that exist."""

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

_SCRAPE_LABELS = frozenset({"job", "instance"})
_FOREIGN_METRICS = frozenset({"up"})
_FUNCTIONS = frozenset(
    {
        "changes",
        "group_left",
        "histogram_quantile",
        "increase",
        "max",
        "min",
        "min_over_time",
        "rate",
        "sum",
        "time",
    }
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
        for query in panel["targets"]:
            yield f"{panel['title']} {query['refId']}", query["expr"]
    for annotation in _dashboard()["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


_EXPRESSIONS = list(_expressions())


def _errors(expression: str) -> list[str]:
    """Return the errors of an expression, as far as they can be found without Prometheus."""
    errors = [f"{a}{b} do not match" for a, b in ("()", "{}", "[]") if expression.count(a) != expression.count(b)]
    without_strings = re.sub(r'"[^"]*"', '""', expression)
    names = re.findall(r"\b[a-z_]{2,}\b", re.sub(r"\{.*?\}|\[.*?\]|(?:by|without|on) \(.*?\)", "", without_strings))
    errors += [f"there is no {name}" for name in names if name not in _VALUES.keys() | _FUNCTIONS | _FOREIGN_METRICS]
    for name, matchers in re.findall(r"([a-z_]+)\{(.*?)\}", expression):
        for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', matchers):
            known = _VALUES.get(name, {"job": set(), "instance": set()})
            if label not in known:
                errors.append(f"{name} has no label {label}")
            elif label not in _SCRAPE_LABELS:
                values = value.split("|") if operator.endswith("~") else [value]
                errors += [f"{name} has no {label} {value}" for value in values if value not in known[label]]
    groups = re.findall(r"(?:by|without|on) \((.*?)\)", expression)
    for label in {label.strip() for group in groups for label in group.split(",")} - _SCRAPE_LABELS:
        if not any(label in known for name, known in _VALUES.items() if name in expression):
            errors.append(f"nothing has the label {label}")
    return errors


@pytest.mark.parametrize(("name", "expression"), _EXPRESSIONS, ids=[name for name, _ in _EXPRESSIONS])
def test_expression_uses_existing_metrics_and_labels(name: str, expression: str) -> None:
    assert _errors(expression) == []
    assert _VALUES.keys() & set(re.findall(r"\w+", expression)) or name == "EvseMqttBridgeDown"


@pytest.mark.parametrize(
    ("expression", "error"),
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
def test_error_in_expression_is_found(expression: str, error: str) -> None:
    assert any(error in found for found in _errors(expression))


def test_dashboard_and_alerts_use_every_metric() -> None:
    used = " ".join(expression for _, expression in _EXPRESSIONS)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in _VALUES if name.startswith(PREFIX)}
    assert [name for name in sorted(families) if name not in used] == []


# Alerts


@pytest.mark.parametrize("rule", _rules(), ids=[rule["alert"] for rule in _rules()])
def test_alert_has_severity_and_advice(rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[1-9]\d*m", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    assert len(rule["annotations"]["description"]) > 40
    assert set(re.findall(r"evse_mqtt_bridge_\w+", rule["annotations"]["description"])) <= _VALUES.keys()
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= _SCRAPE_LABELS


def test_settings_and_files_in_alerts_exist() -> None:
    text = " ".join(rule["annotations"]["description"] for rule in _rules())
    reference = (_ROOT / "docs" / "configuration.md").read_text()
    for setting in set(re.findall(r"\b(?:http|mqtt|cloud|polling)\.[a-z_]+\b", text)):
        section, key = setting.split(".")
        assert re.search(rf"\b{key}\b", reference.split(f"[{section}]", 1)[1]), setting
    for path in re.findall(r"\bdocs/[\w-]+\.md", text):
        assert (_ROOT / path).exists()


def test_alerts_are_documented() -> None:
    rows = re.findall(r"^\| `(EvseMqttBridge\w+)` \| (\w+) \| (\w+) \|", _PAGE.read_text(), re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in _rules()]


def test_job_of_alerts_is_the_scraped_one() -> None:
    (job,) = yaml.safe_load(_SCRAPE.read_text())["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in _ALERTS.read_text()
    assert job["static_configs"][0]["targets"] == ["127.0.0.1:9480"]


@_promtool
@pytest.mark.parametrize(
    "arguments", [("rules", _ALERTS), ("config", "--syntax-only", _SCRAPE)], ids=["rules", "scrape"]
)
def test_promtool_accepts_rules_and_scrape_configuration(arguments: tuple[str | Path, ...]) -> None:
    result = subprocess.run(["promtool", "check", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


_FIRING: Mapping[str, tuple[dict[str, str], dict[str, str]]] = {
    # Per alert: series with which it fires, and series with which it does not; one value per minute for 90 minutes.
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
    "EvseMqttBridgeLogLinesDropped": ({"log_lines_dropped_total": "0x80 5x10"}, {"log_lines_dropped_total": "5x90"}),
    "EvseMqttBridgeHistoryNotWritten": (
        {"history_write_failures_total": "0+1x90"},
        {"history_write_failures_total": "5x90"},
    ),
    "EvseMqttBridgeHistoryLost": (
        {"history_records_dropped_total": "0x80 5x10"},
        {"history_records_dropped_total": "5x90"},
    ),
    "EvseMqttBridgeFleetShardsFree": (
        {"fleet_shards": "16x90", "fleet_shards_held": "15x90"},
        {"fleet_shards": "16x90", "fleet_shards_held": "16x90"},
    ),
    "EvseMqttBridgeFleetEngineLost": (
        {"fleet_engine_connected": "0x90"},
        {"fleet_engine_connected": "0x87 1x2"},
    ),
    "EvseMqttBridgeFleetConflict": ({"fleet_conflict": "1x90"}, {"fleet_conflict": "0x82 1x8"}),
    "EvseMqttBridgeFleetUnsteady": (
        {'fleet_shard_changes_total{change="begun"}': "0+2x90"},
        {'fleet_shard_changes_total{change="handed_over"}': "0+2x90"},
    ),
    "EvseMqttBridgeReloadRefused": (
        {"config_last_reload_successful": "1x45 0x45"},
        {"config_last_reload_successful": "0x45 1x45"},
    ),
}


def _case(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """Return a promtool test: whether an alert fires after 90 minutes of these series."""
    (severity,) = [rule["labels"]["severity"] for rule in _rules() if rule["alert"] == alert]
    prefixed = [(name if name.startswith("up{") else PREFIX + name, values) for name, values in series.items()]
    with_instance = [
        (name.replace("{", '{instance="a",') if "{" in name else name + '{instance="a"}', values)
        for name, values in prefixed
    ]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in with_instance],
        # Whether it fires at all; its texts are not compared.
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}"}})',
                "eval_time": "90m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def test_every_alert_has_a_test() -> None:
    assert _FIRING.keys() == {rule["alert"] for rule in _rules()}


@_promtool
def test_alerts_fire_only_when_they_should(tmp_path: Path) -> None:
    cases = [
        _case(alert, series, fires=fires)
        for alert, both in _FIRING.items()
        for fires, series in zip((True, False), both, strict=True)
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(_ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    result = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


# The dashboard


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    panels = _dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    occupied: set[tuple[int, int]] = set()
    for panel in panels:
        area = panel["gridPos"]
        assert area["x"] + area["w"] <= 24
        cells = {
            (x, y) for x in range(area["x"], area["x"] + area["w"]) for y in range(area["y"], area["y"] + area["h"])
        }
        assert not cells & occupied, panel["title"]
        occupied |= cells


def test_dashboard_lets_the_user_choose_the_data_source() -> None:
    dashboard = _dashboard()
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for panel in _panels():
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = set(re.findall(r"\$\{?([a-z]\w*)", _DASHBOARD.read_text()))
    assert used == variables.keys()
    assert not re.search(r"https?://", _DASHBOARD.read_text())


def test_dashboard_expressions_select_the_chosen_bridges() -> None:
    for name, expression in _EXPRESSIONS:
        if not name.startswith("EvseMqttBridge"):
            metrics = re.findall(rf"\b(?:{PREFIX}|process_)\w+", expression)
            assert expression.count('{job="$job",instance=~"$instance"') == len(metrics) > 0


@_promtool
def test_promtool_accepts_the_dashboard_expressions(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, (_, expression) in enumerate(_EXPRESSIONS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
