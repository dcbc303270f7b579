"""The running container image: it publishes, reports its health, and has no further rights.

`make image-test` builds the image and sets IMAGE to its name; without IMAGE these tests are skipped.
"""

import os
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Authority, CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.net import free_port
from tests.packaging.container import Container, Image

if not os.environ.get("IMAGE"):
    pytest.skip("no image to test; use make image-test", allow_module_level=True)

AVAILABILITY = "evse/bridge/availability"
PLUG = status_example()[1]["plug_uuid"]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with Image(os.environ["IMAGE"]) as mounted:
        yield mounted


@pytest.fixture
def cloud(authority: Authority) -> Iterator[CloudServer]:
    """The cloud over TLS, like the vendor's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue("cloud")
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    with CloudServer(tls=context) as server:
        server.answer(EXAMPLE_EVSE, status_example(), token=f"token-{EXAMPLE_EVSE}")
        yield server


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, cloud: CloudServer, authority: Authority) -> Path:
    """The folder to mount at /config: configuration, token and CA, readable only by the image's user."""
    folder = tmp_path / "config"
    folder.mkdir(mode=0o700)
    (folder / "garage.token").write_text(f"token-{EXAMPLE_EVSE}\n")
    (folder / "garage.token").chmod(0o600)
    shutil.copy(authority.ca_file, folder / "ca.pem")
    station: dict[str, Any] = station_table(token_file="garage.token")
    del station["token"]
    tables = config_tables(
        broker,
        cloud,
        [station],
        polling={"stale_after": 0},
        http={"enabled": True, "host": "0.0.0.0", "port": free_port()},
    )
    tables["cloud"]["ca_file"] = "ca.pem"
    write_config(folder / "config.toml", tables)
    for path in (folder, *folder.iterdir()):
        os.chown(path, 10001, 10001)
    return folder


@pytest.fixture
def container(image: Image, config: Path, tmp_path: Path, observer: Observer) -> Iterator[Container]:
    with image.start(config, tmp_path / "container.log") as running:
        observer.wait_for(AVAILABILITY, "online", timeout=20)
        yield running


def test_container_publishes_and_shuts_down_cleanly(container: Container, observer: Observer) -> None:
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/{PLUG}/power", "7107")
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
    container.send_signal(signal.SIGTERM)
    assert container.wait(5) == 0, container.log
    observer.wait_for(AVAILABILITY, "offline")
    assert "rror" not in container.log


def test_health_check_fails_while_the_process_is_suspended(image: Image, config: Path, container: Container) -> None:
    healthy = image.run(config, image.health_command)
    assert healthy.returncode == 0, healthy.stderr + container.log
    container.send_signal(signal.SIGSTOP)
    frozen = image.run(config, image.health_command)
    assert frozen.returncode == 69
    assert "does not answer" in frozen.stderr
    container.send_signal(signal.SIGCONT)
    assert image.run(config, image.health_command).returncode == 0


def test_health_check_fails_after_shutdown(
    image: Image, config: Path, container: Container, observer: Observer
) -> None:
    container.send_signal(signal.SIGTERM)
    container.wait(5)
    observer.wait_for(AVAILABILITY, "offline")
    result = image.run(config, image.health_command)
    assert (result.returncode, result.stderr.strip()) == (69, "the bridge is offline")


def test_process_has_no_capabilities_and_its_own_user(container: Container) -> None:
    status = container.status()
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert status["Groups"] == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NSpid"].split()[1:] == ["1"]


def test_root_file_system_is_read_only_in_these_tests(image: Image, config: Path) -> None:
    for path in ("/opt/bridge/file", "/config/file", "/run/file"):
        result = image.run(config, ["python3", "-c", f"open({path!r}, 'w')"])
        assert "Read-only file system" in result.stderr


def test_sighup_reloads_the_changed_file(config: Path, container: Container, observer: Observer) -> None:
    file = config / "config.toml"
    file.write_text(file.read_text() + '\n[homeassistant]\ndiscovery_prefix = "other"\n')
    container.send_signal(signal.SIGHUP)
    observer.wait(lambda: any(topic.startswith("other/") for topic in observer.latest))


def test_invalid_configuration_exits_with_78(image: Image, config: Path, tmp_path: Path) -> None:
    file = config / "config.toml"
    file.write_text(file.read_text().replace("[mqtt]", "[mqt]"))
    with image.start(config, tmp_path / "container.log") as running:
        assert running.wait(10) == 78
        assert "config.toml:1: mqt" in running.log


def test_image_has_pycurl_but_no_build_tools(image: Image, config: Path) -> None:
    assert image.run(config, ["python3", "-c", "import pycurl"]).returncode == 0
    assert image.run(config, ["python3", "-c", "import pip"]).returncode != 0
    assert not (image.root / "src").exists()


def test_image_has_no_traces_of_the_build(image: Image) -> None:
    assert not [variable for variable in image.config["Env"] if variable.startswith("PIP")]
    assert not (image.root / "etc/pip.conf").exists()
    assert not list((image.root / "mnt").iterdir())


def test_image_metadata_is_complete(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.config["WorkingDir"] == "/config"
    assert list(image.config["ExposedPorts"]) == ["9480/tcp"]
    assert image.health_command == ["evse-mqtt-bridge", "health"]
    assert image.config["Labels"]["org.opencontainers.image.title"] == "evse-mqtt-bridge"
