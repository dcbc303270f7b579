"""Secrets and authorities that change on disk are used without a restart."""

import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.setup import (
    AVAILABILITY,
    ReportRow,
    configure,
    log_entries,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.faults.test_broker_rejects import password_line
from tests.harness import Authority, CloudServer, Mosquitto, Observer, station_table
from tests.harness.configuration import write_config
from tests.harness.net import HOST


def _swap(folder: Path, name: str, content: str) -> None:
    """Replace a file as Kubernetes does: `name` -> `..data/name`, `..data` -> a folder that is replaced atomically."""
    version = folder / f"..version-{len(list(folder.glob('..version-*')))}"
    version.mkdir()
    (version / name).write_text(content)
    (version / name).chmod(0o600)
    link = folder / "..new"
    link.symlink_to(version.name)
    link.rename(folder / "..data")
    if not (folder / name).is_symlink():
        (folder / name).symlink_to(f"..data/{name}")


def _rewrite(folder: Path, name: str, content: str) -> None:
    """Replace the content of a file in place, as with a bind mount of a single file."""
    (folder / name).touch(mode=0o600)
    (folder / name).write_text(content)


@pytest.mark.parametrize("write", [_swap, _rewrite])
def test_rotated_token_is_read_when_the_old_one_is_rejected(
    tmp_path: Path,
    cloud: CloudServer,
    broker: Mosquitto,
    observer: Observer,
    report_row: ReportRow,
    write: Callable[[Path, str, str], None],
) -> None:
    """The station stays online."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    write(secrets, "token", "canary-old\n")
    stations = [
        station_table(uuid_of(0), name=name_of(0), token_file=str(secrets / "token")),
        station_table(uuid_of(1), name=name_of(1)),
    ]
    del stations[0]["token"]
    cloud.answer(uuid_of(0), station_answer(0), token="canary-old")
    cloud.answer(uuid_of(1), station_answer(1))
    with running_bridge(configure(tmp_path, broker, cloud, stations)) as bridge:
        wait_until_up(observer, 0, 1)
        write(secrets, "token", "canary-new\n")
        cloud.answer(uuid_of(0), station_answer(0, power=5), token="canary-new")
        observer.wait_for(f"evse/{uuid_of(0)}/c99838f9eb5b423d98f8ba33389a255c/power", "5", timeout=15)
        bridge.stop()
    assert observer.payloads(f"evse/{uuid_of(0)}/availability") == ["online"]
    tokens = [request.headers["evsetoken"] for request in cloud.requests_of(uuid_of(0))]
    assert tokens.count("canary-new") >= 1
    assert tokens[tokens.index("canary-new") - 2 : tokens.index("canary-new")] == ["canary-old"] * 2
    (entry,) = log_entries(bridge, "secret_replaced", level="info")
    assert entry["setting"] == "stations[0].token_file"
    assert "canary" not in bridge.stderr_text
    report_row(8, f"{entry['message']}: {entry['setting']}")


def test_rotated_password_is_read_when_the_login_is_rejected(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    passwords, password = tmp_path / "passwords", tmp_path / "password"
    passwords.write_text(password_line("bridge", "canary-old"))
    password.touch(mode=0o600)
    password.write_text("canary-old")
    cloud.answer(uuid_of(0), station_answer(0))
    mqtt = {"username": "bridge", "password_file": str(password)}
    with (
        Mosquitto(tmp_path / "broker", extra=[f"password_file {passwords}"], anonymous=False) as broker,
        running_bridge(configure(tmp_path, broker, cloud, mqtt=mqtt)) as bridge,
    ):
        wait_for_event(bridge, "broker_connected")
        broker.stop()
        passwords.write_text(password_line("bridge", "canary-new"))
        password.write_text("canary-new")
        broker.start()
        with Observer(broker.port, username="bridge", password="canary-new") as observer:
            observer.wait_for(AVAILABILITY, "online", timeout=20)
            observer.wait_for(f"evse/{uuid_of(0)}/availability", "online")
        bridge.stop()
    (entry,) = log_entries(bridge, "secret_replaced", level="info")
    assert entry["setting"] == "mqtt.password_file"
    assert "canary" not in bridge.stderr_text
    report_row(5, f"{entry['message']}: {entry['setting']}")


def _tls(authority: Authority) -> ssl.SSLContext:
    certificate = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def test_rotated_password_with_an_unusable_ca_file_ends_nothing(tmp_path: Path, cloud: CloudServer) -> None:
    """Both files are replaced while the broker checks the login."""
    authority = Authority(tmp_path / "ca")
    ca_file, password = tmp_path / "ca.pem", tmp_path / "password"
    shutil.copy(authority.ca_file, ca_file)
    _rewrite(tmp_path, "password", "canary-old")

    def refuse(listener: socket.socket) -> None:
        with _tls(authority).wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(4096)
            ca_file.write_text("no certificate")
            password.write_text("canary-new")
            connection.sendall(bytes([0x20, 2, 0, 5]))  # CONNACK of MQTT 3.1.1: not authorized
            connection.recv(4096)

    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(30)
        broker = threading.Thread(target=refuse, args=[listener])
        broker.start()
        mqtt = {
            "host": HOST,
            "port": listener.getsockname()[1],
            "protocol": "3.1.1",
            "username": "bridge",
            "password_file": str(password),
            "tls": {"ca_file": str(ca_file)},
        }
        tables = {
            "mqtt": mqtt,
            "cloud": {"base_url": cloud.url},
            "log": {"format": "json"},
            "http": {"enabled": False},
            "history": {"enabled": False},
            "stations": [station_table(uuid_of(0))],
        }
        config = write_config(tmp_path / "config.toml", tables)
        with running_bridge(config) as bridge:
            wait_for_event(bridge, "secret_replaced")
            bridge.wait_for_line("ca_file.*cannot be used")
            bridge.stop()
        broker.join()


@pytest.mark.parametrize("transport", ["libcurl", "httpx"])
def test_reload_reads_a_replaced_authority_of_the_cloud(
    tmp_path: Path, broker: Mosquitto, observer: Observer, transport: str
) -> None:
    """The file has the same name, so that no setting changes."""
    old, new = Authority(tmp_path / "old", "old CA"), Authority(tmp_path / "new", "new CA")
    ca_file = tmp_path / "ca.pem"
    shutil.copy(old.ca_file, ca_file)
    with CloudServer(tls=_tls(old)) as first:
        first.answer(uuid_of(0), station_answer(0))
        config = configure(tmp_path, broker, first, cloud={"ca_file": str(ca_file), "transport": transport})
        with running_bridge(config) as bridge:
            wait_until_up(observer, 0)
            first.stop()
            with CloudServer(tls=_tls(new), port=first.port) as second:
                second.answer(uuid_of(0), station_answer(0))
                observer.wait_for(f"evse/{uuid_of(0)}/availability", "offline", timeout=30)
                shutil.copy(new.ca_file, ca_file)
                bridge.send_signal(signal.SIGHUP)
                observer.wait_for(f"evse/{uuid_of(0)}/availability", "online", timeout=10)
                bridge.stop()
