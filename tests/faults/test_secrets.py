"""No secret appears in any output: the tests use canaries for all secrets and search all outputs for them.

The search covers the plain text and the encodings that occur by themselves: base64, hexadecimal, percent-encoding, and
the escapes of JSON and Python.
"""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.faults.setup import (
    AVAILABILITY,
    ReportRow,
    configure,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.faults.test_broker_rejects import password_line
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, run_command, station_table
from tests.harness.configuration import write_config
from tests.harness.misbehaving_server import Behaviour, MisbehavingServer, answer
from tests.harness.net import HOST, free_port

_IN_FILE, _IN_OWN_FILE, _IN_ENVIRONMENT, _REJECTED, _PASSWORD, _WRONG_PASSWORD = (
    'canary-1"%{}\\token',
    "canary-2=token",
    "canary-3/token",
    "canary-4+token",
    "canary-5 päss\"word'",
    "canary-6-password",
)
CANARIES = {
    "a token in the file": _IN_FILE,
    "a token in a file of its own": _IN_OWN_FILE,
    "a token in the environment": _IN_ENVIRONMENT,
    "a token that is rejected": _REJECTED,
    "the password": _PASSWORD,
    "a password that is wrong": _WRONG_PASSWORD,
}
PLANTED = {name: secret.replace("canary", "planted") for name, secret in CANARIES.items()}


def encodings(secret: str) -> set[str]:
    """Return the forms in which a secret may appear."""
    data = secret.encode()
    return {
        secret,
        base64.b64encode(data).decode().rstrip("="),
        data.hex(),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(data)[2:-1],
    }


def search(outputs: Mapping[str, str], secrets: Mapping[str, str] = CANARIES) -> list[tuple[str, str]]:
    """Return the names of each secret and each output in which it was found."""
    return [
        (name, output)
        for name, secret in secrets.items()
        for output, text in outputs.items()
        if any(form in text for form in encodings(secret))
    ]


def process_list() -> dict[str, str]:
    """Return the command lines of all processes, which every user of the machine can read."""
    command_lines = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command_lines[f"process {path.parent.name}"] = (
                path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue  # the process has exited
    return command_lines


def files(folder: Path, secret_files: Iterable[Path]) -> dict[str, str]:
    """Return the content of all files below a folder, except those that are supposed to contain secrets."""
    excluded = set(secret_files)
    return {
        f"file {path.relative_to(folder)}": path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path not in excluded
    }


def topics(observer: Observer) -> dict[str, str]:
    """Return every message ever published on the broker."""
    return {f"topic, message {n}": f"{message.topic} {message.payload}" for n, message in enumerate(observer.messages)}


@pytest.mark.parametrize("name", PLANTED)
def test_search_finds_planted_secrets(tmp_path: Path, observer: Observer, name: str) -> None:
    """A test for an absence must be able to fail: here the secret is in a log, a payload, a file and a process list."""
    secret = PLANTED[name]
    for form in encodings(secret):
        assert (name, "log") in search({"log": f"2026-01-01 [debug] poll failed detail=a{form}b"}, PLANTED)
    observer.publish("evse/planted", f"<{secret}>")
    observer.sync()
    assert {found for found, _ in search(topics(observer), PLANTED)} == {name}
    planted, excluded = tmp_path / "deep" / "planted", tmp_path / "deep" / "excluded"
    planted.parent.mkdir()
    for path in (planted, excluded):
        path.write_bytes(b"\0\xff" + secret.encode() + b"\xff")
    assert [output for _, output in search(files(tmp_path, [excluded]), PLANTED)] == ["file deep/planted"]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert (name, f"process {process.pid}") in search(process_list(), PLANTED)
        process.communicate(b"\n")


def _echo(secret: str) -> Behaviour:
    """Return the response of a careless server, which repeats the token in the status, the headers and the body."""
    repeated = [{"evsetoken": secret, "headers": {"evsetoken": secret}, "status": 5, "power": secret}]
    headers = {"set_cookie": f"t={secret}", "location": f"/{quote(secret)}", "retry_after": secret}
    return answer(repeated, f"503 {secret}", x_evsetoken=secret, **headers)


_BUG = """
from evse_mqtt_bridge.cloud.parser import ResponseParser

def parse(parser, body):
    raise RuntimeError("a bug, on purpose")

ResponseParser.parse = parse
"""
"""A sitecustomize module that crashes the bridge with a traceback through frames that hold the token."""


@dataclass(slots=True)
class _Site:
    """A bridge with canaries as its secrets, and everything that it outputs.

    Attributes:
        folder: For all files.
        broker: Requires a login.
        cloud: Answers all stations.
        outputs: Collected text by the name of the output.
    """

    folder: Path
    broker: Mosquitto
    cloud: CloudServer
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def second_home(self) -> Path:
        return self.folder / "careless-server"

    @property
    def secret_files(self) -> list[Path]:
        """The files that are supposed to contain secrets."""
        names = ("config.toml", "token", "password")
        return [folder / name for folder in (self.home, self.second_home) for name in names] + [
            self.folder / "passwords"
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {"EVSE_MQTT_BRIDGE__STATIONS__2__TOKEN": _IN_ENVIRONMENT}

    def stations(self) -> list[dict[str, object]]:
        """Return the tables of six stations: three are valid, one is rejected, and two echo their requests."""
        tables = [station_table(uuid_of(number), name=name_of(number), token=_IN_FILE) for number in range(6)]
        del tables[1]["token"], tables[2]["token"]
        tables[1]["token_file"] = "token"
        tables[3]["token"] = _REJECTED
        for number, token in enumerate((_IN_FILE, _IN_OWN_FILE, _IN_ENVIRONMENT, _IN_FILE)):
            self.cloud.answer(uuid_of(number), station_answer(number), token=token)
        self.cloud.answer(uuid_of(4), lambda request: json.dumps(dict(request.headers)).encode())
        self.cloud.answer(uuid_of(5), lambda request: json.dumps([dict(request.headers)]).encode())
        return tables

    def prepare(self) -> None:
        for folder in (self.home, self.second_home):
            folder.mkdir()
            (folder / "token").write_text(_IN_OWN_FILE + "\n")
            (folder / "password").write_text(_PASSWORD + "\n")
        self.folder.joinpath("passwords").write_text(password_line("bridge", _PASSWORD))

    def collect_log(self, name: str, bridge: BridgeProcess) -> None:
        self.outputs[f"log of {name}"] = "\n".join([*bridge.stderr, *bridge.stdout])

    def collect_pages(self, port: int) -> None:
        """Collect every page of a running bridge, its JSON and events, and the output of `status`."""
        address = f"http://{HOST}:{port}"
        for path in ("/", "/api/picture", "/metrics", "/healthz", "/readyz", "/nothing"):
            answer = httpx.get(f"{address}{path}", trust_env=False)
            self.outputs[f"page {address}{path}"] = f"{answer.headers} {answer.text}"
        with httpx.stream("GET", f"{address}/api/events", trust_env=False) as answer:
            events = ""
            for text in answer.iter_text():
                events += text
                if "event: picture" in events and events.endswith("\n\n"):
                    break
        self.outputs[f"page {address}/api/events"] = events
        self.run_command("status", "--url", address)
        self.run_command("status", "--json", "--url", address)

    def run_command(self, *arguments: str, stdin: str = "") -> None:
        config = self.home / "config.toml"
        result = run_command(*arguments, "--config", config, env=self.environment, stdin=stdin)
        self.outputs[f"command {' '.join(arguments)}"] = result.stdout + result.stderr


def _run_in_service(site: _Site, observer: Observer) -> None:
    """Run the bridge with a rejected token, a reload of an invalid file, every command and a restart of the broker."""
    mqtt = {"username": "bridge", "password_file": "password"}
    http = {"enabled": True, "port": free_port()}
    config = configure(site.home, site.broker, site.cloud, site.stations(), mqtt=mqtt, http=http)
    with running_bridge(config, env=site.environment) as bridge:
        wait_until_up(observer, 0, 1, 2)
        for number, reason in ((3, "unauthorized"), (4, "invalid_response"), (5, "invalid_response")):
            observer.wait_for(f"evse/{uuid_of(number)}/availability_reason", reason)
        command_lines = process_list()
        assert f"process {bridge.pid}" in command_lines
        site.outputs |= command_lines
        valid = config.read_text()
        config.write_text(valid.replace("[polling]", "[poling]"))
        bridge.send_signal(signal.SIGHUP)
        wait_for_event(bridge, "configuration_rejected")
        config.write_text(valid)
        site.run_command("check")
        site.run_command("check", "--online")
        site.run_command("station", "list")
        site.run_command("station", "list", "--json")
        site.run_command("topics")
        site.run_command("purge")
        site.run_command("health")
        site.collect_pages(http["port"])
        add = ["station", "add", "--edge-device-id", "edge-1", "--uuid", uuid_of(0), "--token-stdin"]
        site.run_command(*add, stdin=_REJECTED)
        site.broker.stop()
        wait_for_event(bridge, "broker_connection_lost")
        site.broker.start()
        observer.wait(lambda: observer.payloads(AVAILABILITY)[-1] == "online")
    site.collect_log("a bridge in service", bridge)


def _run_with_careless_server(site: _Site) -> None:
    """Run the bridge with a cloud that repeats the token in its responses, and with a rejected login."""
    with MisbehavingServer() as server:
        for number, token in enumerate((_IN_FILE, _IN_OWN_FILE, _IN_ENVIRONMENT, _REJECTED, _IN_FILE, _IN_FILE)):
            server.set_behaviour(uuid_of(number), _echo(token))
        mqtt = {"username": "bridge", "password": _WRONG_PASSWORD, "client_id": "careless-server"}
        http = {"enabled": True, "port": free_port()}
        polling = {"offline_after": 1}
        config = configure(
            site.second_home, site.broker, server, site.stations(), mqtt=mqtt, polling=polling, http=http
        )
        with running_bridge(config, env=site.environment) as bridge:
            wait_for_event(bridge, "broker_login_rejected")
            for number in range(6):
                bridge.wait_for_line(f'"{name_of(number)}".*"station_unavailable"')
            site.collect_pages(http["port"])
        site.collect_log("a bridge with a careless server", bridge)


def _run_with_a_bug(site: _Site) -> None:
    """Run a bridge with a bug, whose process exits with a traceback."""
    mqtt = {"username": "bridge", "password_file": "password"}
    config = configure(site.home, site.broker, site.cloud, site.stations(), mqtt=mqtt)
    packages = site.folder / "site"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(_BUG)
    environment = {**site.environment, "PYTHONPATH": str(packages)}
    with BridgeProcess.run(config, env=environment) as bridge:
        bridge.assert_exit(1)
    assert "Traceback" in bridge.stderr_text
    assert "RuntimeError: a bug, on purpose" in bridge.stderr_text
    site.collect_log("a bridge with a bug", bridge)


def _check_invalid_file(site: _Site) -> None:
    """Check a configuration in which secrets are invalid values of settings."""
    stations = [{"token": secret + "\r\n", "uuid": secret, "edge_device_id": 5} for secret in CANARIES.values()]
    config = write_config(site.folder / "invalid.toml", {"mqtt": {"hots": "x"}, "stations": stations})
    result = run_command("check", "--config", config, env={"EVSE_MQTT_BRIDGE__MQTT__PASSWORD": _PASSWORD + "\n"})
    assert result.returncode == 78
    output = result.stdout + result.stderr
    for setting in ("mqtt.password", *(f"stations[{number}].token" for number in range(len(stations)))):
        assert setting in output
    site.outputs["check of an invalid file"] = output
    config.unlink()


@pytest.fixture
def site(tmp_path: Path, cloud: CloudServer) -> Iterator[_Site]:
    passwords = [f"password_file {tmp_path / 'passwords'}"]
    site = _Site(tmp_path, Mosquitto(tmp_path / "broker", extra=passwords, anonymous=False), cloud)
    site.prepare()
    with site.broker:
        yield site


@pytest.fixture
def site_observer(site: _Site) -> Iterator[Observer]:
    with Observer(site.broker.port, username="bridge", password=_PASSWORD) as connected:
        yield connected


def _assert_no_secret(site: _Site, observer: Observer, report_row: ReportRow) -> None:
    """Search the outputs of the commands and bridges so far, all topics and all files."""
    observer.sync()
    outputs = {**site.outputs, **topics(observer), **files(site.folder, site.secret_files)}
    assert any(name.startswith("file broker/") for name in outputs)
    assert search(outputs) == []
    kinds = sorted({name.split()[0] for name in outputs})
    report_row(
        0,
        f"{len(CANARIES)} secrets in {sum(len(encodings(secret)) for secret in CANARIES.values())} encodings searched "
        f"in {len(outputs)} outputs ({', '.join(kinds)}): none found",
    )


def _assert_pages_show_errors(site: _Site) -> None:
    """Fail unless the status page and its events were collected while they showed the errors of the cloud."""
    snapshots = [text for name, text in site.outputs.items() if name.startswith("page ") and "/api/" in name]
    assert len(snapshots) == 2
    assert all(uuid_of(3) in text and '"error":"HTTP ' in text for text in snapshots)


def test_secrets_appear_in_no_output_in_service(site: _Site, site_observer: Observer, report_row: ReportRow) -> None:
    """All rows, at debug level: the log, topics, the process list, pages, commands and files."""
    _run_in_service(site, site_observer)
    assert len(site.outputs["log of a bridge in service"].splitlines()) > 20
    assert any(name.startswith("process ") for name in site.outputs)
    _assert_pages_show_errors(site)
    _assert_no_secret(site, site_observer, report_row)


def test_secrets_repeated_by_the_cloud_appear_nowhere(
    site: _Site, site_observer: Observer, report_row: ReportRow
) -> None:
    _run_with_careless_server(site)
    _assert_pages_show_errors(site)
    _assert_no_secret(site, site_observer, report_row)


def test_secrets_appear_in_no_traceback(site: _Site, site_observer: Observer, report_row: ReportRow) -> None:
    _run_with_a_bug(site)
    _assert_no_secret(site, site_observer, report_row)


def test_secrets_appear_in_no_configuration_error(site: _Site, site_observer: Observer, report_row: ReportRow) -> None:
    _check_invalid_file(site)
    _assert_no_secret(site, site_observer, report_row)
