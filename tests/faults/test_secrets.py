"""Secrets stay secret: canaries wherever one can stand, everything said, and a search of every place that tells.

Searched for as they are and in the forms that come by themselves: in base64, in hexadecimal, percent-encoded, as JSON
and as Python write them.
"""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
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
    wait_until_up,
)
from tests.faults.test_broker_refuses import password_line
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


def forms(secret: str) -> set[str]:
    """How a secret may look."""
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


def search(places: Mapping[str, str], secrets: Mapping[str, str] = CANARIES) -> list[tuple[str, str]]:
    """Which secret was found in which place, by their names."""
    return [
        (name, place)
        for name, secret in secrets.items()
        for place, text in places.items()
        if any(form in text for form in forms(secret))
    ]


def process_list() -> dict[str, str]:
    """The command lines of all processes, as everybody on the machine can see them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[f"process {path.parent.name}"] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended
    return found


def files(folder: Path, but: Iterable[Path]) -> dict[str, str]:
    """The content of all files below a folder, but for those that are there to hold secrets."""
    known = set(but)
    return {
        f"file {path.relative_to(folder)}": path.read_bytes().decode(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path not in known
    }


def topics(observer: Observer) -> dict[str, str]:
    """All that was ever seen on the broker."""
    return {f"topic, message {n}": f"{seen.topic} {seen.payload}" for n, seen in enumerate(observer.messages)}


@pytest.mark.parametrize("name", PLANTED)
def test_the_search_finds_what_is_planted(tmp_path: Path, observer: Observer, name: str) -> None:
    """A test for an absence has to be able to fail: in a log, a payload, a file and a process list."""
    secret = PLANTED[name]
    for form in forms(secret):
        assert (name, "log") in search({"log": f"2026-01-01 [debug] poll failed detail=a{form}b"}, PLANTED)
    observer.publish("evse/planted", f"<{secret}>")
    observer.sync()
    assert {found for found, _ in search(topics(observer), PLANTED)} == {name}
    planted, kept = tmp_path / "deep" / "planted", tmp_path / "deep" / "kept"
    planted.parent.mkdir()
    for path in (planted, kept):
        path.write_bytes(b"\0\xff" + secret.encode() + b"\xff")
    assert [place for _, place in search(files(tmp_path, [kept]), PLANTED)] == ["file deep/planted"]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", secret], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert (name, f"process {process.pid}") in search(process_list(), PLANTED)
        process.communicate(b"\n")


def _echo(secret: str) -> Behaviour:
    """What a careless server answers: the request's own header, wherever a server could repeat it."""
    repeated = [{"evsetoken": secret, "headers": {"evsetoken": secret}, "status": 5, "power": secret}]
    headers = {"set_cookie": f"t={secret}", "location": f"/{quote(secret)}", "retry_after": secret}
    return answer(repeated, f"503 {secret}", x_evsetoken=secret, **headers)


_BUG = """
import evse_mqtt_bridge.cloud.client as client

def parse(body, uuid):
    raise RuntimeError("a bug, on purpose")

client.parse = parse
"""
"""What makes a bridge end with a traceback that goes through the frames that hold the token."""


@dataclass(slots=True)
class _Stage:
    """Where the canaries live; `said` is what was told anywhere, by place."""

    folder: Path
    broker: Mosquitto
    cloud: CloudServer
    said: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def holders(self) -> list[Path]:
        """The files that are there to hold secrets."""
        lied_to = self.folder / "lied-to"
        named = [place / name for place in (self.home, lied_to) for name in ("config.toml", "token", "password")]
        return [*named, self.folder / "passwords"]

    @property
    def environment(self) -> dict[str, str]:
        return {"EVSE_MQTT_BRIDGE__STATIONS__2__TOKEN": _IN_ENVIRONMENT}

    def stations(self) -> list[dict[str, object]]:
        """Three that are well, each with its token elsewhere, one that is rejected, two that echo headers."""
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
        for place in (self.home, self.folder / "lied-to"):
            place.mkdir()
            (place / "token").write_text(_IN_OWN_FILE + "\n")
            (place / "password").write_text(_PASSWORD + "\n")
        self.folder.joinpath("passwords").write_text(password_line("bridge", _PASSWORD))

    def ended(self, what: str, bridge: BridgeProcess) -> None:
        self.said[f"log of {what}"] = "\n".join([*bridge.stderr, *bridge.stdout])

    def shown(self, port: int) -> None:
        """What a running bridge shows to everybody: its page and what that is made of, and what commands read of it."""
        address = f"http://{HOST}:{port}"
        for path in ("/", "/api/picture", "/metrics", "/healthz", "/readyz", "/nothing"):
            answer = httpx.get(f"{address}{path}", trust_env=False)
            self.said[f"page {address}{path}"] = f"{answer.headers} {answer.text}"
        with httpx.stream("GET", f"{address}/api/events", trust_env=False) as answer:
            seen = ""
            for text in answer.iter_text():
                seen += text
                if "event: picture" in seen and seen.endswith("\n\n"):
                    break
        self.said[f"page {address}/api/events"] = seen
        self.command("status", "--url", address)
        self.command("status", "--json", "--url", address)

    def command(self, *arguments: str, stdin: str = "") -> None:
        config = self.home / "config.toml"
        ended = run_command(*arguments, "--config", config, env=self.environment, stdin=stdin)
        self.said[f"command {' '.join(arguments)}"] = ended.stdout + ended.stderr


def _in_service(stage: _Stage, observer: Observer) -> None:
    """Good answers, a rejected token, a wrong file at reload, every command, a broker that goes."""
    mqtt = {"username": "bridge", "password_file": "password"}
    http = {"enabled": True, "port": free_port()}
    config = configure(stage.home, stage.broker, stage.cloud, stage.stations(), mqtt=mqtt, http=http)
    with running_bridge(config, env=stage.environment) as bridge:
        wait_until_up(observer, 0, 1, 2)
        for number, reason in ((3, "unauthorized"), (4, "invalid_response"), (5, "invalid_response")):
            observer.wait_for(f"evse/{uuid_of(number)}/availability_reason", reason)
        listed = process_list()
        assert f"process {bridge.pid}" in listed
        stage.said |= listed
        good = config.read_text()
        config.write_text(good.replace("[polling]", "[poling]"))
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_line("the changed configuration is wrong")
        config.write_text(good)
        stage.command("check")
        stage.command("check", "--online")
        stage.command("station", "list")
        stage.command("station", "list", "--json")
        stage.command("topics")
        stage.command("purge")
        stage.command("health")
        stage.shown(http["port"])
        add = ["station", "add", "--edge-device-id", "edge-1", "--uuid", uuid_of(0), "--token-stdin"]
        stage.command(*add, stdin=_REJECTED)
        stage.broker.stop()
        bridge.wait_for_line("lost the broker")
        stage.broker.start()
        observer.wait(lambda: observer.payloads(AVAILABILITY)[-1] == "online")
    stage.ended("a bridge in service", bridge)


def _lied_to(stage: _Stage) -> None:
    """A cloud that repeats the token wherever it can, and a refused login."""
    with MisbehavingServer() as server:
        for number, token in enumerate((_IN_FILE, _IN_OWN_FILE, _IN_ENVIRONMENT, _REJECTED, _IN_FILE, _IN_FILE)):
            server.set_behaviour(uuid_of(number), _echo(token))
        mqtt = {"username": "bridge", "password": _WRONG_PASSWORD, "client_id": "lied-to"}
        http = {"enabled": True, "port": free_port()}
        polling = {"offline_after": 1}
        config = configure(
            stage.folder / "lied-to", stage.broker, server, stage.stations(), mqtt=mqtt, polling=polling, http=http
        )
        with running_bridge(config, env=stage.environment) as bridge:
            bridge.wait_for_line("the broker refused the login")
            for number in range(6):
                bridge.wait_for_line(f"{name_of(number)}.*station unavailable")
            stage.shown(http["port"])
        stage.ended("a bridge that is lied to", bridge)


def _with_a_bug(stage: _Stage) -> None:
    """A traceback."""
    site = stage.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_BUG)
    with BridgeProcess.run(stage.home / "config.toml", env={**stage.environment, "PYTHONPATH": str(site)}) as bridge:
        bridge.assert_exit(1)
    assert "Traceback" in bridge.stderr_text
    assert "RuntimeError: a bug, on purpose" in bridge.stderr_text
    stage.ended("a bridge with a bug", bridge)


def _with_wrong_files(stage: _Stage) -> None:
    """Secrets that are themselves what is wrong."""
    for name, secret in CANARIES.items():
        stations = [{"token": secret + "\r\n", "uuid": secret, "edge_device_id": 5}]
        config = write_config(stage.folder / "wrong.toml", {"mqtt": {"hots": "x"}, "stations": stations})
        ended = run_command("check", "--config", config, env={"EVSE_MQTT_BRIDGE__MQTT__PASSWORD": secret + "\n"})
        assert ended.returncode == 78
        stage.said[f"check of {name} in a wrong file"] = ended.stdout + ended.stderr
        config.unlink()


def _everything(folder: Path) -> dict[str, str]:
    with ExitStack() as stack:
        passwords = [f"password_file {folder / 'passwords'}"]
        broker = Mosquitto(folder / "broker", extra=passwords, anonymous=False)
        stage = _Stage(folder, broker, stack.enter_context(CloudServer()))
        stage.prepare()
        stack.enter_context(broker)
        observer = stack.enter_context(Observer(broker.port, username="bridge", password=_PASSWORD))
        _in_service(stage, observer)
        _lied_to(stage)
        _with_a_bug(stage)
        observer.sync()
    _with_wrong_files(stage)
    return {**stage.said, **topics(observer), **files(folder, stage.holders)}


def test_no_secret_appears_anywhere(tmp_path: Path, report_row: ReportRow) -> None:
    """All rows: everything at debug level, in logs, a traceback, topics, the process list, commands and files."""
    said = _everything(tmp_path)
    assert len(said["log of a bridge in service"].splitlines()) > 20
    assert any(place.startswith("process ") for place in said)
    assert any(place.startswith("file broker/") for place in said)
    pictures = [text for place, text in said.items() if place.startswith("page ") and "/api/" in place]
    assert len(pictures) == 4
    assert all(uuid_of(3) in text and '"error":"HTTP ' in text for text in pictures), "with what the cloud said"
    assert search(said) == []
    kinds = sorted({place.split()[0] for place in said})
    report_row(
        0,
        f"{len(CANARIES)} secrets in {sum(len(forms(secret)) for secret in CANARIES.values())} forms searched in "
        f"{len(said)} places ({', '.join(kinds)}): none found",
    )
