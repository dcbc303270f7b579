"""The configuration file is found in a fixed order of precedence."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file


@pytest.mark.parametrize(
    ("named", "environ", "exists", "chosen"),
    [
        ("a.toml", {"EVSE_MQTT_BRIDGE_CONFIG": "b.toml"}, True, "a.toml"),
        (None, {"EVSE_MQTT_BRIDGE_CONFIG": "b.toml", "EVSE_MQTT_BRIDGE__MQTT__HOST": "h"}, True, "b.toml"),
        (None, {"EVSE_MQTT_BRIDGE__MQTT__HOST": "h"}, True, "config.toml"),
        (None, {"EVSE_MQTT_BRIDGE__MQTT__HOST": "h"}, False, None),
        (None, {"EVSE_MQTT_BRIDGE__MQTT": "{}"}, False, None),
        (None, {"EVSE_MQTT_BRIDGE__LOG__LEVEL": "debug"}, False, "config.toml"),
        ("a.toml", {"EVSE_MQTT_BRIDGE__MQTT__HOST": "h"}, False, "a.toml"),
        (None, {"EVSE_MQTT_BRIDGE_CONFIG": "'b.toml'"}, True, "b.toml"),
    ],
)
def test_choose_file_follows_precedence(
    named: str | None,
    environ: dict[str, str],
    exists: bool,
    chosen: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if exists:
        DEFAULT_FILE.touch()
    assert choose_file(Path(named) if named else None, environ) == (Path(chosen) if chosen else None)
