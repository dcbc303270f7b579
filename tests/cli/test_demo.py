"""`demo` as a user starts it, on both brokers, and its choice of broker and port."""

import fcntl
import json
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest

from evse_mqtt_bridge.cli.demo import demo as demo_command
from evse_mqtt_bridge.simulator.broker import HOST, BrokerKind, choose_broker, embedded_broker, free_port
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.cli.window import Window
from tests.harness import BridgeProcess, Observer
from tests.harness import free_port as some_port
from tests.harness.net import is_listening


@pytest.fixture
def _one_demo_at_a_time() -> Iterator[None]:
    """Demos that start at once may choose the same free port, and the tests run in several processes."""
    with (Path(tempfile.gettempdir()) / "evse-mqtt-bridge-demo-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _plug_prefixes(observer: Observer) -> set[str]:
    return {topic.removesuffix("state") for topic in observer.latest if topic.endswith("/state")}


@pytest.mark.usefixtures("_one_demo_at_a_time")
@pytest.mark.parametrize(("broker", "protocol", "name"), [("mosquitto", "5", "Mosquitto"), ("amqtt", "3.1.1", "amqtt")])
def test_demo_each_broker_publishes_until_ctrl_c(broker: str, protocol: str, name: str) -> None:
    port = some_port()
    with BridgeProcess("demo", "--broker", broker, "--port", str(port), "--stations", "2", "--plugs", "2") as demo:
        demo.wait_for_line(rf"broker +{name} on 127\.0\.0\.1, port {port}(, MQTT 3.1.1 only)?$", 20, stream="stdout")
        demo.wait_for_line(rf"mosquitto_sub -h 127\.0\.0\.1 -p {port} -t 'evse/#' -v", stream="stdout")
        page = demo.wait_for_line(r"page +(http://127\.0\.0\.1:\d+/)$", stream="stdout")
        with Observer(port, protocol=protocol) as observer:
            observer.wait_for("evse/bridge/availability", "online")
            assert httpx.get(page[1], trust_env=False).headers["content-type"].startswith("text/html")
            observer.wait(lambda: len(_plug_prefixes(observer)) == 4, what="all four plugs")
            for prefix in _plug_prefixes(observer):
                state = json.loads(observer.latest[prefix + "state"])
                assert observer.latest[prefix + "status"]
                assert float(observer.latest[prefix + "power"]) >= 0
                assert state["availability"] in ("online", "offline")
            assert any(topic.startswith("homeassistant/") for topic in observer.latest)
            demo.wait_for_line(r"Simulated station 2, Plug 2: \w+, \S+ W, .* of \d+ A, online", 20, stream="stdout")
            demo.interrupt()
            demo.assert_exit(0)
            if broker == "mosquitto":  # amqtt may stop before it has forwarded the message
                observer.wait_for("evse/bridge/availability", "offline")
        assert demo.stderr == []
        assert demo.stdout[-1].startswith("stopped the bridge (offline)")
    assert not is_listening(port)


@pytest.mark.usefixtures("_one_demo_at_a_time")
def test_demo_80_columns_shows_topics_power_availability() -> None:
    with Window("demo", "--port", str(some_port()), "--seconds", "6") as window:
        assert window.wait(30) == 0
    screen = window.text
    assert max(len(line) for line in screen.splitlines()) <= 80
    assert re.search(r"^TOPIC +STATUS +POWER +L1 / L2 / L3 .*AVAILABILITY$", screen, re.MULTILINE)
    assert re.search(r"^evse/station-1/plug-1 +\w+ +\d+(\.\d+)? W +.* online$", screen, re.MULTILINE)
    assert "…" not in screen


@pytest.mark.usefixtures("_one_demo_at_a_time")
def test_demo_port_taken_uses_another_and_stops_in_time() -> None:
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        with BridgeProcess("demo", "--port", str(taken), "--seconds", "1") as demo:
            found = demo.wait_for_line(rf"port (\d+) \(port {taken} is in use\)", 20, stream="stdout")
            assert int(found[1]) != taken
            demo.assert_exit(0, 20)


def test_choose_auto_prefers_mosquitto(tmp_path: Path) -> None:
    assert choose_broker(BrokerKind.AUTO, path=str(tmp_path)) is BrokerKind.AMQTT
    program = tmp_path / "mosquitto"
    program.touch(mode=0o755)
    assert choose_broker(BrokerKind.AUTO, path=str(tmp_path)) is BrokerKind.MOSQUITTO


def test_choose_broker_missing_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="install the package mosquitto"):
        choose_broker(BrokerKind.MOSQUITTO, path=str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UnavailableError, match=r"run `pip install '\.\[demo\]'`"):
        choose_broker(BrokerKind.AMQTT, path=str(tmp_path))
    with pytest.raises(UnavailableError, match="no broker is installed"):
        choose_broker(BrokerKind.AUTO, path=str(tmp_path))


async def test_embedded_broker_port_taken_raises() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"port {port} .* is in use"):
            async with embedded_broker(port):
                pytest.fail("it started on a port that is in use")
        assert free_port(port) != port
    assert free_port(port) == port


async def test_embedded_broker_exits_at_once_reports_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho no memory left >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UnavailableError, match="Mosquitto exited at startup: no memory left"):
        async with embedded_broker(some_port(), BrokerKind.MOSQUITTO):
            pytest.fail("it started")


def test_demo_broker_option_offers_every_kind() -> None:
    (option,) = (parameter for parameter in demo_command.params if parameter.name == "broker")
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == [kind.value for kind in BrokerKind]
