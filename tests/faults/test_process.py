"""Rows 1 and 2 of the fault contract: the bridge is killed, or receives a signal to stop, in every situation."""

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
    wait_for_event,
    wait_until_up,
)
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.misbehaving_server import MisbehavingServer, endless, hang
from tests.harness.proxy import Proxy


def _killed(folder: Path) -> str:
    """Kill one bridge for each protocol at the same moment."""
    with broker_cloud_observer(folder) as (broker, cloud, observer), ExitStack() as stack:
        bridges = []
        for protocol in ("5", "3.1.1"):
            mqtt = {"protocol": protocol, "client_id": protocol, "base_topic": protocol}
            bridges.append(stack.enter_context(running_bridge(configure(folder / protocol, broker, cloud, mqtt=mqtt))))
        for protocol in ("5", "3.1.1"):
            wait_until_up(observer, base=protocol)
        for bridge in bridges:
            bridge.kill()
        began, durations = time.monotonic(), {}
        for protocol in ("3.1.1", "5"):
            observer.wait_for(f"{protocol}/bridge/availability", "offline", timeout=began + 8 - time.monotonic())
            durations[protocol] = time.monotonic() - began
        observer.sync()
        for protocol in ("5", "3.1.1"):
            assert observer.retained[f"{protocol}/bridge/availability"] == "offline"
        return ", ".join(
            f"MQTT {protocol}: `offline` {seconds:.1f} s after SIGKILL" for protocol, seconds in durations.items()
        )


def test_killed_bridge_is_offline_within_eight_seconds(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 1: the broker publishes the will, retained, with both protocols."""
    report_row(1, _killed(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_publishes_offline_as_the_last_message(
    tmp_path: Path,
    cloud: CloudServer,
    broker: Mosquitto,
    observer: Observer,
    report_row: ReportRow,
    number: signal.Signals,
) -> None:
    """Row 2: the bridge is stopped while it publishes 40 changing stations; the broker acknowledges `offline`."""
    power = itertools.count()
    for station in range(40):
        cloud.answer(uuid_of(station), lambda request: station_answer(int(request.uuid, 16), power=next(power)))
    with running_bridge(configure(tmp_path, broker, cloud, 40)) as bridge:
        wait_until_up(observer)
        cloud.wait_for_requests(120)
        requests = len(cloud.requests)
        began = time.monotonic()
        bridge.send_signal(number)
        bridge.assert_exit(0, timeout=5)
        duration = time.monotonic() - began
        assert duration < 5
        observer.wait_for(AVAILABILITY, "offline")
        observer.sync()
        published = [message for message in observer.messages if message.topic.startswith(("evse/", "homeassistant/"))]
        assert (published[-1].topic, published[-1].payload, published[-1].retain) == (AVAILABILITY, "offline", True)
        assert len(cloud.requests) <= requests + 20, "polling stops at once"
        wait_for(lambda: "Received DISCONNECT from evse-mqtt-bridge" in broker.log)
        assert log_entries(bridge)[-1]["event"] == "bridge_stopped"
        assert not log_entries(bridge, "offline_not_acknowledged")
        report_row(
            2,
            f"{number.name}: exit 0 after {duration:.1f} s; last of {len(published)} messages: {published[-1].payload}",
        )


def test_shutdown_does_not_wait_for_running_polls(tmp_path: Path, broker: Mosquitto, observer: Observer) -> None:
    """Row 2: one station does not answer, another sends endless interim responses."""
    with MisbehavingServer() as cloud:
        cloud.set_behaviour(uuid_of(0), hang())
        cloud.set_behaviour(uuid_of(1), endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
        with running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge:
            wait_until_up(observer)
            for station in range(2):
                cloud.wait_for_requests(1, uuid_of(station))
            bridge.stop(timeout=5)
    observer.wait_for(AVAILABILITY, "offline")


def test_shutdown_without_responsive_broker_succeeds(tmp_path: Path, cloud: CloudServer, broker: Mosquitto) -> None:
    """Row 2: the broker is down, does not answer CONNECT, or does not answer the TLS handshake."""
    with Proxy(broker.port) as proxy, Proxy(broker.port) as paused, ExitStack() as stack:
        paused.pause()
        broker.stop()
        situations: list[tuple[str, Proxy, dict[str, object]]] = [
            ("down", proxy, {}),
            ("unresponsive", paused, {}),
            ("tls", paused, {"tls": {}}),
        ]
        bridges = [
            stack.enter_context(running_bridge(configure(tmp_path / name, address, cloud, mqtt=mqtt)))
            for name, address, mqtt in situations
        ]
        wait_for_event(bridges[0], "broker_unreachable", 30)
        wait_for(lambda: len(paused.connections) >= 2, 30, "two connections")
        for bridge in bridges:
            bridge.stop(timeout=5)


def test_shutdown_with_frozen_broker_leaves_offline_to_the_will(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    """Row 2: the broker does not acknowledge `offline` within 2 s, so it publishes the will when it resumes."""
    cloud.answer(uuid_of(0), station_answer(0))
    with running_bridge(configure(tmp_path, broker, cloud)) as bridge:
        wait_until_up(observer)
        broker.freeze()
        began = time.monotonic()
        bridge.stop(timeout=5)
        assert time.monotonic() - began > 2
        assert len(log_entries(bridge, "offline_not_acknowledged", level="warning")) == 1
        broker.thaw()
    observer.wait_for(AVAILABILITY, "offline")


def test_shutdown_during_dns_lookup_does_not_wait_for_it(tmp_path: Path, cloud: CloudServer, broker: Mosquitto) -> None:
    """Row 2: the lookup of the cloud's or the broker's name hangs."""
    lookups = patched_name_lookups(tmp_path)
    started = [tmp_path / "cloud" / "started", tmp_path / "broker" / "started"]
    with ExitStack() as stack:
        bridges = [
            stack.enter_context(running_bridge(config, env={**lookups, "LOOKUP_STARTED": str(mark)}))
            for config, mark in zip(
                [
                    configure(tmp_path / "cloud", broker, "http://slow.test:1"),
                    configure(tmp_path / "broker", broker, cloud, mqtt={"host": "slow.test"}),
                ],
                started,
                strict=True,
            )
        ]
        wait_for(lambda: all(mark.exists() for mark in started), 30)
        for bridge in bridges:
            bridge.stop(timeout=5)
