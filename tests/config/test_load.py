"""Configurations are loaded from a file, the environment and secret files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from evse_mqtt_bridge.config.load import load, parse
from evse_mqtt_bridge.config.location import choose_file
from evse_mqtt_bridge.config.schema import Config, Tls
from evse_mqtt_bridge.config.schema_index import EACH, Setting, settings, variable_name
from evse_mqtt_bridge.support.errors import ConfigError
from tests.harness import Authority

BASE = """\
[mqtt]
host = "file"
username = "bridge"
"""
STATION = """\
[[stations]]
edge_device_id = "1"
uuid = "a"
"""
FLEET = """\
[fleet]
engine = "static"
share = "0"
"""
TOKEN = 'token = "t"\n'


def config_of(text: str, folder: Path = Path(), **environ: str) -> Config:
    names = {f"EVSE_MQTT_BRIDGE__{name}": value for name, value in environ.items()}
    return parse(text, folder / "config.toml", names).config


def secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None


# the file


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["unix", "windows"])
def test_load_accepts_byte_order_mark_and_crlf(prefix: bytes, newline: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(prefix + (BASE + STATION + TOKEN).encode().replace(b"\n", newline))
    loaded = load(path, {})
    assert loaded.path == path
    assert loaded.config.mqtt.host == "file"
    assert [station.uuid for station in loaded.config.stations] == ["a"]


def test_empty_text_equals_missing_key() -> None:
    config = config_of(BASE + 'password = ""\npassword_file = ""\n' + STATION + 'token_file = ""\nalias = ""\n' + TOKEN)
    assert config.mqtt.password is None
    assert config == config_of(BASE + STATION + TOKEN)


def test_configurations_with_equal_settings_are_equal() -> None:
    text = BASE + STATION + TOKEN + 'plugs = { p = "left" }\n'
    assert config_of(text) == config_of("# comment\n" + text)
    assert config_of(text) == config_of(BASE + STATION + 'plugs = { p = "left" }\n', STATIONS__0__TOKEN="t")
    changed = config_of(text.replace('"t"', '"u"'))
    assert changed != config_of(text)
    assert changed.mqtt == config_of(text).mqtt
    assert changed.stations[0] != config_of(text).stations[0]


# secrets from files


@pytest.mark.parametrize(
    ("content", "token"),
    [(b"s", "s"), (b"s\n", "s"), (b"s\r\n", "s")],
)
def test_token_from_file_loses_one_newline(content: bytes, token: str, tmp_path: Path) -> None:
    (tmp_path / "north.token").write_bytes(content)
    config = config_of(BASE + STATION + 'token_file = "north.token"\n', tmp_path)
    assert secret(config.stations[0].token) == token
    assert config.stations[0].token_file == str(tmp_path / "north.token")


def test_file_paths_are_relative_to_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    for name in ("token", "password"):
        (folder / name).write_text(f"{name}!")
    own = authority.issue("sought")
    for name, file in (("ca.pem", authority.ca_file), ("cert.pem", own.cert_file), ("key.pem", own.key_file)):
        shutil.copy(file, folder / name)
    (folder / "config.toml").write_text(
        BASE
        + 'password_file = "password"\n[mqtt.tls]\nca_file = "ca.pem"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
        + f'[cloud]\nca_file = "{folder}/ca.pem"\n'
        + STATION
        + 'token_file = "../etc/token"\n'
    )
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/config.toml"), {}).config
    assert secret(config.mqtt.password) == "password!"
    assert secret(config.stations[0].token) == "token!"
    assert config.mqtt.tls == Tls(
        ca_file=str(folder / "ca.pem"), cert_file=str(folder / "cert.pem"), key_file=str(folder / "key.pem")
    )
    assert config.cloud.ca_file == str(folder / "ca.pem")


@contextmanager
def without_root_privileges() -> Iterator[None]:
    """Drop root privileges temporarily, as root can read every file."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_secret_file_is_an_error() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "token").touch(mode=0)
        with without_root_privileges(), pytest.raises(ConfigError, match="token cannot be read: Permission denied"):
            config_of(BASE + STATION + 'token_file = "token"\n', folder)


# the environment


def test_environment_overrides_file() -> None:
    config = config_of(
        BASE + "[mqtt.tls]\n[polling]\ninterval = 5\n" + STATION + TOKEN,
        MQTT__HOST="elsewhere",
        mqtt__Port="8884",
        POLLING__HEARTBEAT="2.5",
        HOMEASSISTANT__ENABLED="False",
        MQTT__PROTOCOL="3.1.1",
        STATIONS__0__NAME="7",
        STATIONS__0__PLUGS='{"p": "left"}',
    )
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.protocol) == ("elsewhere", 8884, "3.1.1")
    assert (config.polling.interval, config.polling.heartbeat) == (5, 2.5)
    assert config.homeassistant.enabled is False
    assert config.stations[0].name == "7"
    assert dict(config.stations[0].plugs) == {"p": "left"}


def test_load_without_file_uses_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text("secret")
    environ = {
        "EVSE_MQTT_BRIDGE__MQTT__HOST": "broker",
        "EVSE_MQTT_BRIDGE__MQTT__TLS": "{}",
        "EVSE_MQTT_BRIDGE__STATIONS__0__UUID": "a",
        "EVSE_MQTT_BRIDGE__STATIONS__0__EDGE_DEVICE_ID": "1",
        "EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN_FILE": "t",
        "EVSE_MQTT_BRIDGE__STATIONS__1": '{"uuid": "b", "edge_device_id": "1", "token": "u"}',
        "PATH": "/bin",
    }
    loaded = load(choose_file(None, environ), environ)
    assert loaded.path is None
    assert loaded.config.mqtt.effective_port == 8883
    assert [(item.uuid, secret(item.token)) for item in loaded.config.stations] == [("a", "secret"), ("b", "u")]


def test_environment_array_replaces_file_and_keys_override_it() -> None:
    config = config_of(
        BASE + STATION + TOKEN,
        STATIONS='[{"uuid": "x", "edge_device_id": "1", "token": "u"},'
        '{"uuid": "y", "edge_device_id": "1", "token": "v"}]',
        STATIONS__1__TOKEN="w",
        STATIONS__2__UUID="z",
        STATIONS__2__EDGE_DEVICE_ID="1",
        STATIONS__2__TOKEN="q",
        MQTT__TLS__CA_FILE="",
    )
    assert [(item.uuid, secret(item.token)) for item in config.stations] == [("x", "u"), ("y", "w"), ("z", "q")]
    assert config.mqtt.tls == Tls()


def test_eleven_stations_of_environment_keep_their_order() -> None:
    environ: dict[str, str] = {}
    for index in range(11):
        environ |= {
            f"STATIONS__{index}__UUID": f"s{index}",
            f"STATIONS__{index}__EDGE_DEVICE_ID": "1",
            f"STATIONS__{index}__TOKEN": "t",
        }
    assert [item.uuid for item in config_of(BASE, Path(), **environ).stations] == [f"s{index}" for index in range(11)]


@pytest.mark.parametrize(
    ("in_file", "environ", "password"),
    [
        ('password = "file"\n', {"MQTT__PASSWORD": "env"}, "env"),
        ('password = "file"\n', {"MQTT__PASSWORD_FILE": "separate"}, "separate!"),
        ('password_file = "nowhere"\n', {"MQTT__PASSWORD": "env"}, "env"),
        ('password_file = "nowhere"\n', {"MQTT__PASSWORD_FILE": "separate"}, "separate!"),
        ('password = "file"\n', {"MQTT__PASSWORD": ""}, None),
        ('password = "file"\n', {"MQTT__PASSWORD_FILE": ""}, None),
        ('password_file = "separate"\n', {"MQTT__PASSWORD": "", "MQTT__PASSWORD_FILE": ""}, None),
    ],
)
def test_environment_secret_replaces_secret_and_file(
    in_file: str, environ: dict[str, str], password: str | None, tmp_path: Path
) -> None:
    (tmp_path / "separate").write_text("separate!\n")
    assert secret(config_of(BASE + in_file, tmp_path, **environ).mqtt.password) == password


@pytest.mark.parametrize("setting", [item for item in settings() if item.section is None and item.path[-1] != EACH])
def test_every_setting_is_read_from_environment(setting: Setting, tmp_path: Path) -> None:
    """A value that is invalid for every setting causes an error for its variable, so the variable was read."""
    path = tuple(0 if part == EACH else part for part in setting.path)
    with pytest.raises(ConfigError) as caught:
        parse(
            BASE + "[mqtt.tls]\n" + FLEET + STATION + TOKEN, tmp_path / "config.toml", {variable_name(path): "/\x01 #"}
        )
    assert [problem.source for problem in caught.value.problems] == [variable_name(path)]


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("setting", [item for item in settings() if item.section is None and item.path[-1] != EACH])
def test_every_setting_from_environment_loses_its_quotes(setting: Setting, quote: str, tmp_path: Path) -> None:
    """The error about an invalid value is the same with and without quotes, so they were removed."""
    path = tuple(0 if part == EACH else part for part in setting.path)
    texts = []
    for value in ("/\x01 #", f"{quote}/\x01 #{quote}"):
        with pytest.raises(ConfigError) as caught:
            parse(BASE + "[mqtt.tls]\n" + STATION + TOKEN, tmp_path / "config.toml", {variable_name(path): value})
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_environment_values_lose_matching_quotes(tmp_path: Path) -> None:
    """As in the file of `docker run --env-file`, which keeps quotes."""
    config = config_of(
        BASE,
        tmp_path,
        MQTT__BASE_TOPIC='"site/evse"',
        MQTT__PORT="'1884'",
        MQTT__USERNAME='"bridge"',
        MQTT__PASSWORD="'secret'",
        HOMEASSISTANT__ENABLED='"False"',
        STATIONS="""'[{"edge_device_id": "e", "uuid": "u1", "token": "t"}]'""",
    )
    assert (config.mqtt.base_topic, config.mqtt.port, config.homeassistant.enabled) == ("site/evse", 1884, False)
    assert (secret(config.mqtt.password), config.stations[0].uuid) == ("secret", "u1")


@pytest.mark.parametrize("password", ['"', "\"a'", '"a" b"', "'a'b'", 'a"', "''a''"])
def test_environment_value_without_a_pair_of_quotes_is_unchanged(password: str) -> None:
    config = config_of(BASE, Path(), MQTT__USERNAME="bridge", MQTT__PASSWORD=password)
    assert secret(config.mqtt.password) == password


def assert_parsed_or_rejected(text: str, environ: dict[str, str]) -> None:
    error = None
    try:
        parse(text, Path("config.toml"), environ)
    except ConfigError as raised:
        error = raised
    assert error is None or len(str(error).splitlines()) == len(error.problems)


@given(st.dictionaries(st.sampled_from(["MQTT__HOST", "STATIONS__0", "MQTT", "STATIONS", "CLOUD__TIMEOUT"]), st.text()))
def test_any_text_in_variable_is_parsed_or_rejected(environ: dict[str, str]) -> None:
    names = {f"EVSE_MQTT_BRIDGE__{name}": value for name, value in environ.items()}
    assert_parsed_or_rejected(BASE + STATION + TOKEN, names)


@given(st.text(), st.text())
def test_any_text_in_file_is_parsed_or_rejected(key: str, value: str) -> None:
    for text in (value, f"{key} = {value}", f"[{key}]\n{value}"):
        assert_parsed_or_rejected(text, {})


# warnings


def warnings_of(path: Path, text: str, mode: int = 0o600) -> list[str]:
    path.write_text(text)
    path.chmod(mode)
    return [warning.removeprefix(str(path)) for warning in load(path, {}).warnings]


def test_load_valid_file_gives_no_warning(tmp_path: Path) -> None:
    assert warnings_of(tmp_path / "config.toml", BASE + STATION + TOKEN) == []


WORLD_READABLE = ": contains secrets that other users can read; run `chmod 600` or move the secrets to separate files"


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (BASE + STATION + TOKEN, 0o604, [WORLD_READABLE]),
        (BASE + STATION + TOKEN, 0o640, []),
        (BASE + 'password = "x"\n' + STATION + 'token_file = "t"\n', 0o644, [WORLD_READABLE]),
        (BASE + STATION + 'token_file = "t"\n', 0o644, []),
    ],
)
def test_load_world_readable_secrets_gives_warning(text: str, mode: int, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "t").write_text("t")
    (tmp_path / "t").chmod(0o600)
    assert warnings_of(tmp_path / "config.toml", text, mode) == expected


@pytest.mark.parametrize(
    ("mode", "allowed"),
    [(0o600, ""), (0o660, ""), (0o644, "read"), (0o602, "change"), (0o666, "read and change")],
)
def test_load_exposed_secret_file_gives_warning(mode: int, allowed: str, tmp_path: Path) -> None:
    files = [tmp_path / "p", tmp_path / "t"]
    for file in files:
        file.write_text("secret\n")
        file.chmod(mode)
    text = BASE + 'password_file = "p"\n' + STATION + 'token_file = "t"\n'
    expected = [
        f":{line}: {key}: mode {mode:04o} lets other users {allowed} {file}; run `chmod 600 {file}`"
        for line, key, file in ((4, "mqtt.password_file", files[0]), (8, "stations[0].token_file", files[1]))
    ]
    assert warnings_of(tmp_path / "config.toml", text) == (expected if allowed else [])


def test_load_secret_on_read_only_mount_gives_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").write_text("secret\n")
    (tmp_path / "t").chmod(0o444)
    text = BASE + STATION + 'token_file = "t"\n'
    assert len(warnings_of(tmp_path / "config.toml", text)) == 1
    flags = os.statvfs(tmp_path)
    read_only = os.statvfs_result([*flags[:8], flags.f_flag | os.ST_RDONLY, *flags[9:]])
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    assert warnings_of(tmp_path / "config.toml", text) == []


@pytest.mark.parametrize(
    ("url", "has_warning"),
    [
        ("http://cloud.example.com", True),
        ("http://192.0.2.1:8080", True),
        ("http://127.0.0.1.example.com", True),
        ("http://localhost:8080", False),
        ("http://127.0.0.2", False),
        ("http://[::1]:80", False),
        ("https://cloud.example.com", False),
    ],
)
def test_load_unencrypted_remote_url_gives_warning(url: str, has_warning: bool, tmp_path: Path) -> None:
    warnings = warnings_of(tmp_path / "config.toml", BASE + f'[cloud]\nbase_url = "{url}"\n' + STATION + TOKEN)
    assert warnings == [":5: cloud.base_url: tokens are sent unencrypted over http://; use https://"] * has_warning


def test_load_too_many_requests_gives_warning(tmp_path: Path) -> None:
    stations = "".join(f'[[stations]]\nedge_device_id = "1"\nuuid = "s{index}"\n{TOKEN}' for index in range(4))
    text = BASE + "[polling]\ninterval = 2\n[cloud]\nmax_requests_per_second = {}\n" + stations + "interval = 1\n"
    path = tmp_path / "config.toml"
    assert warnings_of(path, text.format(2.5)) == []
    assert warnings_of(path, text.format(0)) == []
    warning = (
        ":7: cloud.max_requests_per_second: the polling intervals need 2.5 requests per second, but the limit is 2; "
        "stations are polled less often"
    )
    assert warnings_of(path, text.format(2)) == [warning]


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        ('engine = "etcd"\nendpoints = ["https://192.0.2.1:2379"]\n', []),
        (
            'engine = "etcd"\nendpoints = ["https://192.0.2.1:2379"]\nshare = "0-7"\nnamespace = "evse"\n',
            [
                ':11: fleet.share: is not used with fleet.engine "etcd", only with "static"',
                ':12: fleet.namespace: is not used with fleet.engine "etcd", only with "kubernetes"',
            ],
        ),
        (
            'engine = "static"\nshare = "0"\nendpoints = ["http://192.0.2.1:2379"]\n',
            [':11: fleet.endpoints: is not used with fleet.engine "static", only with "etcd" or "kubernetes"'],
        ),
        (
            'engine = "etcd"\nendpoints = ["https://a:1", "http://192.0.2.1:2379"]\nusername = "u"\npassword = "p"\n',
            [":10: fleet.endpoints[1]: the password is sent unencrypted over http://; use https://"],
        ),
        ('engine = "etcd"\nendpoints = ["http://127.0.0.1:2379"]\nusername = "u"\npassword = "p"\n', []),
    ],
)
def test_load_unused_or_risky_fleet_settings_give_warnings(settings: str, warnings: list[str], tmp_path: Path) -> None:
    text = BASE + STATION + TOKEN + "[fleet]\n" + settings
    assert warnings_of(tmp_path / "config.toml", text) == warnings


@pytest.mark.parametrize(("limit", "has_warning"), [(0, False), (7, True), (8, False)])
def test_load_limit_that_delays_a_takeover_gives_warning(limit: int, has_warning: bool, tmp_path: Path) -> None:
    stations = "".join(
        f'[[stations]]\nedge_device_id = "1"\nuuid = "u{number}"\ntoken = "t"\n' for number in range(100)
    )
    fleet = '[fleet]\nengine = "etcd"\nendpoints = ["https://192.0.2.1:2379"]\n'
    text = BASE + f"[cloud]\nmax_requests_per_second = {limit}\n[polling]\ninterval = 40\n" + fleet + stations
    warning = (
        ":5: cloud.max_requests_per_second: when one of two members is lost, polling its stations within 10 s needs "
        "7.5 requests per second, but the limit is 7; a take-over lasts longer"
    )
    assert warnings_of(tmp_path / "config.toml", text) == [warning] * has_warning


@pytest.mark.parametrize(("transport", "is_deprecated"), [("aiohttp", True), ("httpx", False), ("auto", False)])
def test_load_deprecated_transport_gives_warning(transport: str, is_deprecated: bool, tmp_path: Path) -> None:
    text = BASE + f'[cloud]\ntransport = "{transport}"\n' + STATION + TOKEN
    warning = ':5: cloud.transport: "aiohttp" is deprecated and selects httpx; set "httpx" or "auto" instead'
    assert warnings_of(tmp_path / "config.toml", text) == [warning] * is_deprecated


def test_load_without_station_gives_warning(tmp_path: Path) -> None:
    warnings = warnings_of(tmp_path / "config.toml", BASE)
    assert warnings == [": stations: no station is configured; add one with `evse-mqtt-bridge station add`"]
