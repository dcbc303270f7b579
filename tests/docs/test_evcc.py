"""The examples on docs/evcc.md have the keys that evcc demands, and their jq expressions read the bridge's messages."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs; it comes with the broker of the demo

from evse_mqtt_bridge.domain.meter import Meter, count, published_meter
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES, meaning
from evse_mqtt_bridge.publishing.outputs.plug_values import plug_state

PAGE = (Path(__file__).parents[2] / "docs" / "evcc.md").read_text()
METER, CHARGER = (yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
JQ = shutil.which("jq")
TIME = datetime(2026, 3, 25, 8, 30, tzinfo=UTC)

PLUGIN_KEYS = {
    "mqtt": {"source", "topic", "timeout", "jq"},
    "const": {"source", "value"},
    "sleep": {"source", "duration"},
}
"""Keys that evcc decodes, of the plugins that the page uses (its folder `plugin`)."""
GETTERS = {"mqtt", "const"}
SETTERS = {"sleep"}


def _expressions(content: object) -> set[str]:
    match content:
        case dict():
            found = {content["jq"]} if "jq" in content else set()
            return found.union(*(_expressions(value) for value in content.values()))
        case list():
            return set[str]().union(*(_expressions(value) for value in content))
    return set()


def _state(status: str, *, session: bool = False, reason: Reason = Reason.ONLINE) -> str:
    reading = PlugReading(
        "p1",
        time=TIME,
        status=status,
        power=7107.0,
        current_l1=10.3,
        current_l2=10.2,
        current_l3=10.1,
        dyn_current_limit=12.0,
    )
    meter = count(Meter(), replace(reading, status="connected" if session else "idle"), 90)
    meter = meter._replace(charged=12_345.0)
    return plug_state(
        PlugState("p1", reading=reading, reason=reason, meter=meter, last_published_meter=published_meter(meter))
    ).decode()


def _jq(expression: str, *inputs: str) -> list[Any]:
    """Return the result for each input, or `None` where the expression fails."""
    results: list[Any] = []
    for line in inputs:
        printed = subprocess.run(
            [str(JQ), "-c", expression], input=line, capture_output=True, text=True, timeout=60, check=False
        )
        results.append(json.loads(printed.stdout) if printed.returncode == 0 else None)
    return results


def test_charger_has_the_keys_that_evcc_demands() -> None:
    (charger,) = CHARGER["chargers"]
    assert charger["type"] == "custom"
    assert {"status", "enabled", "enable", "maxcurrent"} <= charger.keys()
    assert charger.keys() <= {
        *("name", "type", "status", "enabled", "enable", "maxcurrent", "power", "energy", "currents"),
    }
    assert len(charger["currents"]) == 3  # evcc refuses another number
    for key in ("status", "enabled", "power", "energy"):
        assert charger[key]["source"] in GETTERS, key
    for key in ("enable", "maxcurrent"):
        assert charger[key]["source"] in SETTERS, key
    (loadpoint,) = CHARGER["loadpoints"]
    assert loadpoint["charger"] == charger["name"]


def test_meter_has_the_keys_that_evcc_demands() -> None:
    (meter,) = METER["meters"]
    assert meter["type"] == "custom"
    assert {"name", "type", "power"} <= meter.keys() <= {"name", "type", "power", "energy"}
    assert METER["site"]["meters"] == {"ext": [meter["name"]]}


def test_plugins_have_only_keys_that_evcc_decodes() -> None:
    (charger,), (meter,) = CHARGER["chargers"], METER["meters"]
    plugins = [value for table in (charger, meter) for value in table.values() if isinstance(value, dict)]
    plugins += charger["currents"]
    assert len(plugins) == 11
    for plugin in plugins:
        assert plugin.keys() == PLUGIN_KEYS[plugin["source"]]
        if plugin["source"] == "mqtt":
            assert plugin["topic"] == "evse/garage-north/left/state"
            assert plugin["timeout"] == "150s"


def _documented_letters() -> dict[str, set[str]]:
    rows = re.findall(r"^\| (`.*?) \| (.*?) \| .*? \|$", PAGE, re.MULTILINE)
    return {
        status: set(re.findall("`([A-F])`", letters))
        for names, letters in rows
        for status in re.findall("`([a-z_]+)`", names)
    }


@pytest.mark.skipif(JQ is None, reason="no jq command on PATH")
def test_status_gives_the_documented_letter() -> None:
    expression = CHARGER["chargers"][0]["status"]["jq"]
    documented = _documented_letters()
    assert documented.keys() == STATUSES.keys()
    states = [
        (status, _state(status, session=session, reason=meaning(status).unavailable or Reason.ONLINE))
        for status in STATUSES
        for session in (True, False)
    ]
    found: dict[str, set[str]] = {status: set() for status in STATUSES}
    for (status, _), letter in zip(states, _jq(expression, *(state for _, state in states)), strict=True):
        found[status] |= {letter} if letter is not None else set()
    assert found == documented


@pytest.mark.skipif(JQ is None, reason="no jq command on PATH")
def test_values_are_numbers_and_fail_while_unavailable() -> None:
    online, offline = _state("charging"), _state("charging", reason=Reason.UNREACHABLE)
    values = {}
    for expression in (_expressions(METER) | _expressions(CHARGER)) - {CHARGER["chargers"][0]["status"]["jq"]}:
        values[re.findall(r"\.([a-z0-9_]+)", expression)[-1]] = _jq(expression, online, offline)
    assert values == {
        "power": [7107, None],
        "energy": [12.345, 12.345],
        "current_l1": [10.3, None],
        "current_l2": [10.2, None],
        "current_l3": [10.1, None],
    }
