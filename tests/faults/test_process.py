"""Rows 1 and 2 of the fault contract: how a bridge ends, by force and by request."""

import itertools
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.setup import (
    AVAILABILITY,
    ReportRow,
    broker_cloud_observer,
    configure,
    log_entries,
    patched_name_lookups,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for,
    wait_until_up,
)
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.misbehaving_server import MisbehavingServer, endless, hang
from tests.harness.proxy import Proxy


def _killed(folder: Path) -> str:
    """A bridge with each protocol, killed at the same moment."""
    with broker_cloud_observer(folder) as (broker, cloud, observer), ExitStack() as stack:
        bridges = []
        for protocol in ("5", "3.1.1"):
            mqtt = {"protocol": protocol, "client_id": protocol, "base_topic": protocol}
            bridges.append(stack.enter_context(running_bridge(configure(folder / protocol, broker, cloud, mqtt=mqtt))))
        for protocol in ("5", "3.1.1"):
            wait_until_up(observer, base=protocol)
        for bridge in bridges:
            bridge.kill()
        began, took = time.monotonic(), {}
        for protocol in ("3.1.1", "5"):
            observer.wait_for(f"{protocol}/bridge/availability", "offline", timeout=began + 8 - time.monotonic())
            took[protocol] = time.monotonic() - began
        observer.sync()
        for protocol in ("5", "3.1.1"):
            assert observer.retained[f"{protocol}/bridge/availability"] == "offline"
        return ", ".join(
            f"MQTT {protocol}: `offline` {seconds:.1f} s after SIGKILL" for protocol, seconds in took.items()
        )


def test_a_killed_bridge_is_offline_within_eight_seconds(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 1: the broker publishes `offline` on the bridge's availability, retained, with either protocol."""
    report_row(1, _killed(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_published_after_offline(
    tmp_path: Path,
    cloud: CloudServer,
    broker: Mosquitto,
    observer: Observer,
    report_row: ReportRow,
    number: signal.Signals,
) -> None:
    """Row 2: a bridge with much to say is stopped in the middle of it; `offline` is acknowledged and the last."""
    power = itertools.count()
    for station in range(40):
        cloud.answer(uuid_of(station), lambda request: station_answer(int(request.uuid, 16), power=next(power)))
    with running_bridge(configure(tmp_path, broker, cloud, 40)) as bridge:
        wait_until_up(observer)
        cloud.wait_for_requests(120)
        asked = len(cloud.requests)
        began = time.monotonic()
        bridge.send_signal(number)
        bridge.assert_exit(0, timeout=5)
        took = time.monotonic() - began
        assert took < 5
        observer.wait_for(AVAILABILITY, "offline")
        observer.sync()
        published = [seen for seen in observer.messages if seen.topic.startswith(("evse/", "homeassistant/"))]
        assert (published[-1].topic, published[-1].payload, published[-1].retain) == (AVAILABILITY, "offline", True)
        assert len(cloud.requests) <= asked + 20, "polls stop at once"
        wait_for(lambda: "Received DISCONNECT from evse-mqtt-bridge" in broker.log)
        assert log_entries(bridge)[-1]["message"] == "stopped"
        assert not log_entries(bridge, "did not acknowledge")
        report_row(
            2, f"{number.name}: exit 0 after {took:.1f} s; last of {len(published)} messages: {published[-1].payload}"
        )


def test_ends_in_the_middle_of_a_poll(tmp_path: Path, broker: Mosquitto, observer: Observer) -> None:
    """Row 2: while one station does not answer, and another floods its connection."""
    with MisbehavingServer() as cloud:
        cloud.set_behaviour(uuid_of(0), hang())
        cloud.set_behaviour(uuid_of(1), endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
        with running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge:
            wait_until_up(observer)
            for station in range(2):
                cloud.wait_for_requests(1, uuid_of(station))
            bridge.stop(timeout=5)
    observer.wait_for(AVAILABILITY, "offline")


def test_ends_while_the_broker_is_down_or_says_nothing(tmp_path: Path, cloud: CloudServer, broker: Mosquitto) -> None:
    """Row 2: nobody listens; somebody listens and does not answer CONNECT; nor the TLS handshake."""
    with Proxy(broker.port) as proxy, Proxy(broker.port) as paused, ExitStack() as stack:
        paused.pause()
        broker.stop()
        predicaments: list[tuple[str, Proxy, dict[str, object]]] = [
            ("down", proxy, {}),
            ("silent", paused, {}),
            ("tls", paused, {"tls": {}}),
        ]
        bridges = [
            stack.enter_context(running_bridge(configure(tmp_path / name, place, cloud, mqtt=mqtt)))
            for name, place, mqtt in predicaments
        ]
        bridges[0].wait_for_line("the broker cannot be reached", 30)
        wait_for(lambda: len(paused.connections) == 2, 30)
        for bridge in bridges:
            bridge.stop(timeout=5)


def test_ends_while_the_broker_is_frozen(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    """Row 2: `offline` is not acknowledged within 2 s, so the broker is left to publish it as the will."""
    cloud.answer(uuid_of(0), station_answer(0))
    with running_bridge(configure(tmp_path, broker, cloud)) as bridge:
        wait_until_up(observer)
        broker.freeze()
        began = time.monotonic()
        bridge.stop(timeout=5)
        assert time.monotonic() - began > 2
        assert len(log_entries(bridge, "the broker did not acknowledge offline in time", level="warning")) == 1
        broker.thaw()
    observer.wait_for(AVAILABILITY, "offline")


def test_ends_while_a_name_is_looked_up(tmp_path: Path, cloud: CloudServer, broker: Mosquitto) -> None:
    """Row 2: name resolution that hangs, of the cloud or of the broker, does not hold up the end."""
    lookups = patched_name_lookups(tmp_path)
    begun = [tmp_path / "cloud" / "begun", tmp_path / "broker" / "begun"]
    with ExitStack() as stack:
        bridges = [
            stack.enter_context(running_bridge(config, env={**lookups, "LOOKUP_STARTED": str(mark)}))
            for config, mark in zip(
                [
                    configure(tmp_path / "cloud", broker, "http://slow.test:1"),
                    configure(tmp_path / "broker", broker, cloud, mqtt={"host": "slow.test"}),
                ],
                begun,
                strict=True,
            )
        ]
        wait_for(lambda: all(mark.exists() for mark in begun), 30)
        for bridge in bridges:
            bridge.stop(timeout=5)
