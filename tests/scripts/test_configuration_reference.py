"""The configuration page and the example file are current, and their examples are valid."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from evse_mqtt_bridge.config.load import load, parse
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.config.schema_index import EACH, Setting, format_path, settings, variable_name
from evse_mqtt_bridge.support.errors import ConfigError
from scripts.configuration_reference import DOCUMENT, EXAMPLE, example, refreshed
from tests.harness import Authority

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / DOCUMENT).read_text()
SECRETS = ("garage-north.token", "fleet.password", "history.password", "mqtt.password")
REGENERATE = "run `python -m scripts.configuration_reference`"


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """Return a folder with every file that the examples name."""
    for name in SECRETS:
        (tmp_path / name).write_text(f"{name}\n")
    own = authority.issue("bridge")
    for name, file in (("bridge.pem", own.cert_file), ("bridge.key", own.key_file)):
        shutil.copy(file, tmp_path / name)
        shutil.copy(file, tmp_path / name.replace("bridge", "etcd"))
    for name in ("ca.pem", "cloud-ca.pem", "etcd-ca.pem"):
        shutil.copy(authority.ca_file, tmp_path / name)
    return tmp_path


def test_page_is_up_to_date() -> None:
    assert refreshed(PAGE) == PAGE, REGENERATE


def test_example_is_up_to_date() -> None:
    assert (ROOT / EXAMPLE).read_text() == example(), REGENERATE


@pytest.mark.parametrize("setting", [item for item in settings() if item.section is None and item.path[-1] != EACH])
def test_page_lists_every_setting(setting: Setting) -> None:
    path = tuple(0 if part == EACH else part for part in setting.path)
    row = next(line for line in PAGE.splitlines() if f"| `{variable_name(path)}` |" in line)
    assert row.startswith(f"| `{path[-1]}` | {setting.expected} | ")
    assert f" | {setting.description} | " in row


@pytest.mark.parametrize("block", re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
def test_toml_examples_of_page_are_valid(block: str, folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(block if "[mqtt]" in block else f'[mqtt]\nhost = "localhost"\n{block}')
    for file in folder.rglob("*"):
        file.chmod(0o700 if file.is_dir() else 0o600)
    assert [warning for warning in load(path, {}).warnings if "no station is configured" not in warning] == []


def test_page_has_toml_examples() -> None:
    assert PAGE.count("```toml") >= 3


def test_variables_of_page_are_valid(folder: Path) -> None:
    lines = re.findall(r"^ +(EVSE_MQTT_BRIDGE__[A-Z_0-9]+)=(.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 6
    for name, value in lines:
        environ = {
            name: value.replace("/run/secrets/garage_north", str(folder / SECRETS[0])).replace(
                "/etc/ssl/site-ca", str(folder / "ca")
            )
        }
        text = '[mqtt]\nhost = "h"\n[[stations]]\nedge_device_id = "1"\nuuid = "a"\ntoken = "t"\n'
        parse(text, folder / "config.toml", environ)


def test_errors_on_page_are_real_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"exit code is 78:\n\n(.*?)\n\n", PAGE, re.DOTALL)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text('[mqtt]\nhost = "h"\n\nprot = 1\n\n\n\n[polling]\ninterval = 0\n')
    with pytest.raises(ConfigError) as caught:
        load(Path("config.toml"), {"EVSE_MQTT_BRIDGE__LOG__LEVEL": "loud"})
    assert sorted(str(caught.value).splitlines()) == sorted(line.strip() for line in block[1].splitlines())
    assert caught.value.exit_code == 78


def test_example_configuration_equals_defaults(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(example())
    assert load(path, {}).config == Config(mqtt=Mqtt(host="localhost"))


def test_example_comments_are_valid_settings(folder: Path) -> None:
    alternatives = ("#password =", "#token =")
    lines = [
        line.removeprefix("#") if re.match(r"#[a-z\[]", line) and not line.startswith(alternatives) else line
        for line in example().splitlines()
    ]
    text = "\n".join(lines)
    config = parse(text, folder / "config.toml", {}).config
    assert [(station.name, station.alias, station.interval) for station in config.stations] == [
        ("Garage north", "garage-north", 10)
    ]
    named = {format_path(path) for path in _leaves(tomllib.loads(text))}
    known = {
        format_path(item.path).replace("[]", "[0]")
        for item in settings()
        if item.section is None and item.path[-1] != EACH
    }
    assert known - named == {"mqtt.password", "history.password", "fleet.password", "stations[0].token"}


def _leaves(data: dict[str, object]) -> list[tuple[str | int, ...]]:
    found: list[tuple[str | int, ...]] = []
    for key, value in data.items():
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            found += [(key, index, *path) for index, item in enumerate(value) for path in _leaves(item)]
        elif isinstance(value, dict) and key not in ("plugs", "plug_names", "websocket_headers"):
            found += [(key, *path) for path in _leaves(value)]
        else:
            found.append((key,))
    return found
