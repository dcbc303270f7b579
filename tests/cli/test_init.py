"""`init` without prompts: answers from options, files, standard input and the environment."""

import contextlib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.init import init
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.load import load
from tests.harness import CloudServer, Mosquitto, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.net import free_port

TOKEN = "canary-t0ken"
PASSWORD = "canary-p4ss"
STATION = f"edge_device_id=edge-1,uuid={EXAMPLE_EVSE}"


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EVSE_MQTT_BRIDGE")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def api(cloud: CloudServer) -> CloudServer:
    cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
    return cloud


def run(folder: Path, *arguments: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
    with contextlib.chdir(folder):
        result = CliRunner().invoke(cli, ["init", *arguments], input=stdin, env={"COLUMNS": "160", **(env or {})})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert TOKEN not in result.output
    assert PASSWORD not in result.output
    return Result(result.exit_code, result.stdout, result.stderr)


def addresses(broker: Mosquitto, api: CloudServer) -> tuple[str, ...]:
    return ("--host", broker.host, "--port", str(broker.port), "--cloud-url", api.url)


def tables(folder: Path) -> dict[str, object]:
    content = tomllib.loads((folder / "config.toml").read_text())
    return {name: table for name, table in content.items() if table}


def test_init_all_answers_given_tests_and_writes(folder: Path, broker: Mosquitto, api: CloudServer) -> None:
    result = run(
        folder,
        *addresses(broker, api),
        "--station",
        f"{STATION},name=North,alias=n",
        "--token-stdin",
        stdin=f"{TOKEN}\n",
    )
    assert result.code == 0
    assert result.stdout == (
        f"Connecting to 127.0.0.1:{broker.port} ...\n"
        "  the broker accepted the connection\n\n"
        "Polling North ...\n"
        "plug                              label   status    power\n"
        "6bbf9fd56dc24f9697b078d5d8ccda84  Plug 1  idle      0 W\n"
        "c99838f9eb5b423d98f8ba33389a255c  Plug 2  charging  7107 W\n\n"
        "wrote config.toml, readable by its owner only\n"
        "Next:\n"
        "  evse-mqtt-bridge check --online   test the broker and the stations again\n"
        "  evse-mqtt-bridge run              run the bridge until Ctrl-C\n"
        "While the bridge runs, its status page is at http://127.0.0.1:9480\n"
    )
    assert result.stderr == ""
    assert [path.name for path in folder.iterdir()] == ["config.toml"]
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
    assert tables(folder) == {
        "mqtt": {"host": "127.0.0.1", "port": broker.port},
        "cloud": {"base_url": api.url},
        "polling": {"interval": 30},
        "homeassistant": {"enabled": True},
        "stations": [{"edge_device_id": "edge-1", "uuid": EXAMPLE_EVSE, "token": TOKEN, "name": "North", "alias": "n"}],
    }


def test_init_options_cover_every_question() -> None:
    known = {option for parameter in init.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert known >= {
        *("--host", "--port", "--tls", "--no-tls", "--ca-file", "--username", "--password-file", "--password-stdin"),
        *("--station", "--no-stations", "--token-stdin", "--interval", "--homeassistant", "--no-homeassistant"),
    }


def test_init_options_accept_no_secret() -> None:
    for parameter in init.params:
        assert isinstance(parameter, click.Option)
        if parameter.name in ("password_stdin", "token_stdin"):
            assert parameter.is_flag
        else:
            assert parameter.name == "password_file" or "password" not in str(parameter.name)
            assert "token" not in str(parameter.name)


def test_init_station_option_gives_names_of_plugs(folder: Path) -> None:
    station = 'edge_device_id=1,uuid=a,plugs.p=left,plugs.q=right,"plug_names.q=Right, bay 2"'
    options = ("--host", "h", "--skip-tests", "--token-stdin")
    assert run(folder, *options, "--station", station, stdin=TOKEN).code == 0
    written = load(folder / "config.toml", {}).config.stations[0]
    assert (written.plugs, written.plug_names) == ({"p": "left", "q": "right"}, {"q": "Right, bay 2"})
    result = run(folder, *options, "--force", "--station", f"{station},plugs.r/s=x", stdin=TOKEN)
    assert result.code == 78
    assert result.stderr.startswith('stations[0].plugs."r/s": expected a key of 1 to 64 of the characters A-Z a-z ')
    result = run(folder, *options, "--force", "--station", f"{station},plugs.r=left", stdin=TOKEN)
    assert (result.code, result.stderr) == (78, "stations[0].plugs.r: is already the alias of plug p\n")


def test_init_stdin_password_precedes_tokens(folder: Path) -> None:
    result = run(
        folder,
        *("--host", "h", "--username", "bridge", "--password-stdin", "--token-stdin", "--skip-tests"),
        *("--station", "edge_device_id=1,uuid=a"),
        *("--station", "edge_device_id=1,uuid=b,token_file=b.token"),
        *("--station", 'edge_device_id=1,uuid=c,"name=North, left"'),
        stdin=f"{PASSWORD}\n{TOKEN}-a\r\n{TOKEN}-c",
    )
    assert result.code == 78
    assert result.stderr == f"stations[1].token_file: {folder}/b.token cannot be read: No such file or directory\n"
    (folder / "b.token").write_text("of-b\n")
    (folder / "b.token").chmod(0o600)
    result = run(
        folder,
        *("--host", "h", "--username", "bridge", "--password-stdin", "--token-stdin", "--skip-tests"),
        *("--station", "edge_device_id=1,uuid=a"),
        *("--station", "edge_device_id=1,uuid=b,token_file=b.token"),
        *("--station", 'edge_device_id=1,uuid=c,"name=North, left"'),
        stdin=f"{PASSWORD}\n{TOKEN}-a\r\n{TOKEN}-c",
    )
    assert (result.code, result.stderr) == (0, "")
    config = load(folder / "config.toml", {}).config
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == PASSWORD
    assert [(item.uuid, item.token.get_secret_value(), item.name) for item in config.stations] == [
        ("a", f"{TOKEN}-a", ""),
        ("b", "of-b", ""),
        ("c", f"{TOKEN}-c", "North, left"),
    ]


def test_init_secrets_in_environment_are_not_written(folder: Path, broker: Mosquitto, api: CloudServer) -> None:
    secrets = {
        "EVSE_MQTT_BRIDGE__MQTT__PASSWORD": PASSWORD,
        "EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN": TOKEN,
        "EVSE_MQTT_BRIDGE__LOG__LEVEL": "debug",
    }
    result = run(folder, *addresses(broker, api), "--username", "bridge", "--station", STATION, env=secrets)
    assert result.code == 0
    assert result.stderr == ("note: EVSE_MQTT_BRIDGE__LOG__LEVEL in the environment overrides the answer given here\n")
    text = (folder / "config.toml").read_text()
    assert PASSWORD not in text
    assert TOKEN not in text
    assert load(folder / "config.toml", secrets).config.stations[0].token.get_secret_value() == TOKEN


def test_init_files_are_relative_to_the_configuration(folder: Path) -> None:
    for name in ("p", "t"):
        (folder / name).write_text("secret\n")
        (folder / name).chmod(0o600)
    result = run(
        folder.parent,
        *("--config", "etc/config.toml", "--host", "h", "--username", "u", "--password-file", "etc/p", "--skip-tests"),
        *("--station", f"edge_device_id=1,uuid=a,token_file={folder}/t"),
    )
    assert (result.code, result.stderr) == (0, "")
    assert "  evse-mqtt-bridge run --config etc/config.toml  " in result.stdout
    content = tables(folder)
    assert content["mqtt"] == {"host": "h", "username": "u", "password_file": "p"}
    assert content["stations"] == [{"edge_device_id": "1", "uuid": "a", "token_file": "t"}]


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--username", "bridge"], {"EVSE_MQTT_BRIDGE__MQTT__PASSWORD": "of-the-environment"}),
        ([], {"EVSE_MQTT_BRIDGE__MQTT__PASSWORD": "p", "EVSE_MQTT_BRIDGE__MQTT__USERNAME": "bridge"}),
    ],
)
def test_init_stdin_unneeded_secret_is_skipped(options: list[str], environment: dict[str, str], folder: Path) -> None:
    result = run(
        folder,
        *("--host", "h", *options, "--password-stdin", "--token-stdin", "--skip-tests"),
        *("--station", "edge_device_id=1,uuid=a", "--station", "edge_device_id=1,uuid=b"),
        stdin=f"{PASSWORD}\n{TOKEN}-a\n{TOKEN}-b",
        env={**environment, "EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN": "of-a"},
    )
    assert result.code == 0, result.stderr
    text = (folder / "config.toml").read_text()
    assert PASSWORD not in text
    assert f"{TOKEN}-a" not in text
    assert text.count(f"{TOKEN}-b") == 1


@pytest.mark.parametrize(
    ("options", "stdin", "error"),
    [
        (
            ["--host", "h", "--password-stdin", "--token-stdin", "--skip-tests", "--station", STATION],
            "password\ntoken\n",
            "--password-file and --password-stdin need --username.",
        ),
        (
            ["--host", "h", "--password-file", "p", "--skip-tests", "--no-stations"],
            "",
            "--password-file and --password-stdin need --username.",
        ),
        (["--host", "h", "--station", "edge_device_id=1,uuid=a\nb"], "", "expected key=value,key=value on one line"),
        ([], "", "--host is missing; it answers the question: Broker host"),
        (
            ["--host", "h", "--skip-tests"],
            "",
            "--station is missing; repeat it for each station, or add --no-stations.",
        ),
        (["--host", "a b"], "", '--host: expected a host name or IP address, without "mqtt://"'),
        (["--host", "h", "--port", "0"], "", "--port: expected a whole number from 1 to 65535"),
        (["--host", "h", "--username", "u"], "", "The password is missing: add --password-file or --password-stdin."),
        (
            ["--host", "h", "--username", "u", "--password-stdin"],
            "",
            "--password-stdin: line 1 of standard input, the password, is missing",
        ),
        (
            ["--host", "h", "--skip-tests", "--station", "edge_device_id=1,uuid=a"],
            "",
            "The token of a is missing: add token_file=FILE to --station, or --token-stdin.",
        ),
        (
            ["--host", "h", "--skip-tests", "--station", "edge_device_id=1,uuid=a", "--token-stdin"],
            f"{TOKEN} \n",
            "--token-stdin: line 1 of standard input, the token of a, is invalid: expected 1 to 4096 visible ASCII",
        ),
        (
            ["--host", "h", "--skip-tests", "--station", "edge_device_id=1,uuid=a", "--token-stdin"],
            TOKEN.encode() + b"\xff\n",
            "--token-stdin: line 1 of standard input, the token of a, is not UTF-8 text",
        ),
        (
            ["--host", "h", "--station", f"edge_device_id=1,uuid=a,token={TOKEN}"],
            "",
            "a token is a secret, and every user can see options; use token_file or --token-stdin",
        ),
        (
            ["--host", "h", "--station", "edge_device_id=1,uid=a"],
            "",
            "expected each of edge_device_id, uuid, token_file, name, alias, plugs.UUID, plug_names.UUID at most once",
        ),
        (["--host", "h", "--station", "name=x"], "", "edge_device_id and uuid: missing"),
        (
            ["--host", "h", "--skip-tests", "--station", "edge_device_id=1,uuid=a b,token_file=t"],
            "",
            "--station (number 1): uuid: expected 1 to 64 of the characters A-Z a-z 0-9 _ -",
        ),
        (
            ["--host", "h", "--skip-tests", "--no-stations", "--interval", "0"],
            "",
            "--interval: expected a number from 1 to 86400",
        ),
        (["--station", STATION, "--no-stations"], "", "--station and --no-stations exclude each other."),
        (["--password-file", "p", "--password-stdin"], "", "--password-file and --password-stdin exclude each other."),
        (["--cloud-url", "cloud.example.com"], "", '--cloud-url: expected a URL such as "https://'),
        (["--no-tls", "--ca-file", "p"], "", "--no-tls and files for TLS exclude each other."),
    ],
)
def test_init_missing_or_invalid_answer_names_the_option(
    options: list[str], stdin: str | bytes, error: str, folder: Path
) -> None:
    result = run(folder, *options, stdin=stdin)
    assert result.code == 2
    assert error in result.stderr
    assert list(folder.iterdir()) == []


def test_init_broker_down_fails_unless_anyway(folder: Path) -> None:
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-stations")
    error = f"broker 127.0.0.1:{port}: Connection refused"
    result = run(folder, *options)
    assert (result.code, result.stderr) == (69, f"{error}; use --anyway to write it anyway\n")
    assert list(folder.iterdir()) == []
    result = run(folder, *options, "--anyway")
    assert result.code == 0
    assert result.stderr.startswith(f"{error}; written anyway\n")
    assert tables(folder)["mqtt"] == {"host": "127.0.0.1", "port": port}


@pytest.mark.parametrize(("is_down", "code", "reason"), [(False, 1, "unauthorized"), (True, 69, "unreachable")])
def test_init_station_rejected_fails_unless_anyway(
    is_down: bool, code: int, reason: str, folder: Path, broker: Mosquitto, api: CloudServer
) -> None:
    if is_down:
        api.stop()
    options = (*addresses(broker, api), "--station", STATION, "--token-stdin")
    result = run(folder, *options, stdin="wrong")
    assert result.code == code
    assert result.stderr.startswith(f"{EXAMPLE_EVSE}: {reason}: ")
    assert result.stderr.endswith("; use --anyway to write it anyway\n")
    assert list(folder.iterdir()) == []
    assert run(folder, *options, "--anyway", stdin="wrong").code == 0
    assert len(load(folder / "config.toml", {}).config.stations) == 1


def test_init_unusable_ca_file_is_reported_without_a_line(folder: Path) -> None:
    (folder / "ca.pem").write_text("hello")
    result = run(folder, "--host", "h", "--ca-file", "ca.pem", "--no-stations", "--skip-tests")
    assert (result.code, result.stderr) == (
        78,
        f"mqtt.tls.ca_file: {folder}/ca.pem: the file is not PEM: it has no line -----BEGIN CERTIFICATE-----\n",
    )
    assert [path.name for path in folder.iterdir()] == ["ca.pem"]


def test_init_missing_files_are_reported_first(folder: Path) -> None:
    for option, key in (("--cloud-ca-file", "cloud.ca_file"), ("--cert-file", "mqtt.tls.cert_file")):
        result = run(folder, "--host", "127.0.0.1", "--port", str(free_port()), option, "gone.pem")
        assert (result.code, result.stdout) == (78, "")
        assert result.stderr == f"{key}: {folder}/gone.pem cannot be read: No such file or directory\n"


def test_init_integral_interval_is_written_as_integer(folder: Path) -> None:
    assert run(folder, *READY, "--interval", "15").code == 0
    assert "\ninterval = 15\n" in (folder / "config.toml").read_text()


# --- the file

READY = ("--host", "h", "--no-stations", "--skip-tests")


def test_init_file_exists_leaves_it_unchanged(folder: Path) -> None:
    (folder / "config.toml").write_text("mine")
    (folder / "config.toml").chmod(0o640)
    result = run(folder, *READY)
    assert result.code == 1
    assert result.stderr.startswith("config.toml exists and was not changed; ")
    assert (folder / "config.toml").read_text() == "mine"
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o640


def test_init_dangling_link_counts_as_existing(folder: Path) -> None:
    (folder / "config.toml").symlink_to("elsewhere.toml")
    assert run(folder, *READY).code == 1
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_init_force_keeps_the_previous_file(folder: Path) -> None:
    for content, kept in (("first", "config.toml.bak"), ("second", "config.toml.bak2")):
        (folder / "config.toml").write_text(content)
        (folder / "config.toml").chmod(0o644)
        result = run(folder, *READY, "--force")
        assert result.code == 0
        assert f"kept the previous config.toml as {kept}\n" in result.stdout
        assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
        assert load(folder / "config.toml", {}).config.mqtt.host == "h"
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "config.toml.bak", "config.toml.bak2"]
    for name, content in (("config.toml.bak", "first"), ("config.toml.bak2", "second")):
        assert (folder / name).read_text() == content
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_init_force_test_fails_leaves_no_copy(folder: Path) -> None:
    (folder / "config.toml").write_text("mine")
    assert run(folder, "--host", "127.0.0.1", "--port", str(free_port()), "--no-stations", "--force").code == 69
    assert [path.name for path in folder.iterdir()] == ["config.toml"]
    assert (folder / "config.toml").read_text() == "mine"


def test_init_folder_missing_is_reported_first(folder: Path) -> None:
    result = run(folder, "--config", "no/config.toml", "--host", "127.0.0.1", "--port", "1", "--no-stations")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == "no/config.toml cannot be written: the folder does not exist\n"


@pytest.mark.parametrize(
    ("name", "value", "code", "error"),
    [
        ("EVSE_MQTT_BRIDGE__MQTT__HOTS", "h", 78, "EVSE_MQTT_BRIDGE__MQTT__HOTS: unknown variable; "),
        ("EVSE_MQTT_BRIDGE__STATIONS", "[]", 1, "EVSE_MQTT_BRIDGE__STATIONS replaces the stations "),
    ],
)
def test_init_conflicting_variable_is_reported_first(
    name: str, value: str, code: int, error: str, folder: Path
) -> None:
    result = run(folder, *READY, env={name: value})
    assert (result.code, result.stdout) == (code, "")
    assert result.stderr.startswith(error)
    assert list(folder.iterdir()) == []
