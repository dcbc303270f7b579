"""Rows 17 and 18 of the fault contract: the broker rejects a message, a login, or a second client."""

import base64
import hashlib
import itertools
import json
import os
import signal
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.setup import (
    AVAILABILITY,
    PLUG,
    ReportRow,
    configure,
    log_entries,
    running_bridge,
    sleep_until,
    station_answer,
    uuid_of,
    wait_for,
    wait_for_event,
    wait_until_up,
)
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.proxy import Proxy


def test_message_denied_by_acl_is_logged_once_per_topic(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 17: an ACL denies `power` and one station's `info`, which MQTT 5 reports; other topics are published."""
    rules = tmp_path / "acl"
    rules.write_text(f"topic readwrite #\ntopic deny evse/+/+/power\ntopic deny evse/{uuid_of(0)}/info\n")
    power = iter(range(10_000))
    for number in range(2):
        cloud.answer(uuid_of(number), lambda request: station_answer(int(request.uuid, 16), power=next(power)))
    with (
        Mosquitto(tmp_path / "broker", extra=[f"acl_file {rules}"]) as broker,
        Observer(broker.port) as observer,
        running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge,
    ):
        wait_until_up(observer, 0, 1)
        cloud.wait_for_requests(8)
        observer.sync()
        refused = log_entries(bridge, "publish_rejected", level="error")
        assert sorted(entry["topic"] for entry in refused) == [
            f"evse/{uuid_of(0)}/{PLUG}/power",
            f"evse/{uuid_of(0)}/info",
            f"evse/{uuid_of(1)}/{PLUG}/power",
        ]
        assert {entry["reason"] for entry in refused} == {"Not authorized"}
        assert not [topic for topic in observer.retained if topic.endswith("/power")]
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
        count = len(observer.payloads(f"evse/{uuid_of(1)}/{PLUG}/state"))
        assert count > 1, "state is still published"
    report_row(
        17, f"ACL: {len(refused)} error lines for 3 topics, {refused[0]['reason']!r}; `state` received {count} times"
    )


def test_message_above_max_packet_size_is_not_sent(tmp_path: Path, cloud: CloudServer, report_row: ReportRow) -> None:
    """Row 17: a label exceeds `max_packet_size`, which MQTT 5 announces on connect."""
    cloud.answer(uuid_of(0), station_answer(0, plug_label="x" * 10_000))
    cloud.answer(uuid_of(1), station_answer(1))
    with (
        Mosquitto(tmp_path / "broker", extra=["max_packet_size 4000"]) as broker,
        Observer(broker.port) as observer,
        running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge,
    ):
        wait_until_up(observer, 0, 1)
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/power", "7107")
        for number in range(2):
            observer.wait_for(f"evse/{uuid_of(number)}/{PLUG}/availability", "online")
        cloud.wait_for_requests(6)
        observer.sync()
        refused = log_entries(bridge, "publish_rejected", level="error")
        assert sorted(entry["topic"] for entry in refused) == [
            f"evse/{uuid_of(0)}/{PLUG}/label",
            f"evse/{uuid_of(0)}/{PLUG}/state",
        ]
        assert json.loads(observer.latest[f"evse/{uuid_of(0)}/info"])["plugs"][PLUG]["label"] == "x" * 128
        assert all("bytes exceed the broker's limit of 4000" in entry["reason"] for entry in refused)
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
        assert "oversize" not in broker.log.lower()
    report_row(17, f"too large: {len(refused)} error lines for 2 topics, {refused[0]['reason']!r}")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_denied_marker_is_logged_and_publishing_goes_on(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow, protocol: str
) -> None:
    """Row 17: without its marker, the bridge guesses when it has received all retained messages."""
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite #\ntopic deny evse/bridge/marker\n")
    cloud.answer(uuid_of(0), station_answer(0))
    with (
        Mosquitto(tmp_path / "broker", extra=[f"acl_file {rules}"]) as broker,
        Observer(broker.port) as observer,
        running_bridge(configure(tmp_path, broker, cloud, mqtt={"protocol": protocol})) as bridge,
    ):
        wait_until_up(observer, 0)
        (entry,) = log_entries(bridge, "restore_uncertain", level="warning")
        assert entry["topic"] == "evse/bridge/marker"
    report_row(17, f"MQTT {protocol}: {entry['message']}: {entry['detail']}")


@pytest.mark.parametrize("qos", [1, 2])
def test_message_above_message_size_limit_is_left_out(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow, qos: int
) -> None:
    """Row 17: a label exceeds a limit that the broker does not announce; it answers with reason code 0x95."""
    cloud.answer(uuid_of(0), station_answer(0, plug_label="x" * 5_000))
    cloud.answer(uuid_of(1), station_answer(1))
    with (
        Mosquitto(tmp_path / "broker", extra=["message_size_limit 4000"]) as broker,
        Observer(broker.port) as observer,
        running_bridge(configure(tmp_path, broker, cloud, 2, mqtt={"qos": qos})) as bridge,
    ):
        wait_until_up(observer, 0, 1)
        for number in range(2):
            observer.wait_for(f"evse/{uuid_of(number)}/{PLUG}/availability", "online")
        wait_for(lambda: len(log_entries(bridge, "publish_rejected")) == 2, what="two lines")
        refused = log_entries(bridge, "publish_rejected", level="error")
        assert sorted(entry["topic"] for entry in refused) == [
            f"evse/{uuid_of(0)}/{PLUG}/label",
            f"evse/{uuid_of(0)}/{PLUG}/state",
        ]
        assert {entry["reason"] for entry in refused} == {"Packet too large"}
        assert len(log_entries(bridge, "broker_connected", "broker_reconnected")) == 1
    report_row(17, f"QoS {qos}: {len(refused)} error lines for 2 topics, {refused[0]['reason']!r}")


def test_broker_without_qos_1_is_reported_with_the_setting(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 17: the broker rejects the connection because of the will's QoS."""
    cloud.answer(uuid_of(0), station_answer(0))
    with Mosquitto(tmp_path / "broker", extra=["max_qos 0"]) as broker:
        with running_bridge(configure(tmp_path / "refused", broker, cloud)) as bridge:
            wait_for_event(bridge, "broker_connection_rejected")
            (entry,) = log_entries(bridge, "broker_connection_rejected")
            assert entry["detail"] == "QoS not supported: set mqtt.qos = 0"
        with running_bridge(configure(tmp_path / "accepted", broker, cloud, mqtt={"qos": 0})) as bridge:
            wait_for_event(bridge, "broker_connected")
    report_row(17, f"Maximum QoS 0: {entry['detail']}")


def password_line(user: str, password: str) -> str:
    """Return a line of Mosquitto's password file."""
    salt = os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_rejected_login_is_logged_once_and_retried(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow, protocol: str
) -> None:
    """Row 5: the password is wrong until the broker's password file changes."""
    passwords = tmp_path / "passwords"
    passwords.write_text(password_line("bridge", "another"))
    mqtt = {"username": "bridge", "password": "canary-password", "protocol": protocol}
    with (
        Mosquitto(tmp_path / "broker", extra=[f"password_file {passwords}"], anonymous=False) as broker,
        running_bridge(configure(tmp_path, broker, cloud, mqtt=mqtt)) as bridge,
    ):
        wait_for_event(bridge, "broker_still_disconnected", 30)
        passwords.write_text(password_line("bridge", "canary-password"))
        os.kill(broker.pid, signal.SIGHUP)
        with Observer(broker.port, username="bridge", password="canary-password") as observer:
            observer.wait_for(AVAILABILITY, "online", timeout=20)
        (entry,) = log_entries(bridge, "broker_login_rejected", level="error")
        assert "mqtt.password" in entry["advice"]
        assert "canary" not in bridge.stderr_text
    report_row(5, f"MQTT {protocol}: {entry['message']}: {entry['detail']}; {entry['advice']}")


def test_two_bridges_with_one_client_id_reconnect_rarely(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 18: the broker disconnects one when the other connects; measured for 24 s with both protocols.

    In that time the bridges make most of the six connections that the rule for the waits allows in any minute
    (tests/mqtt/test_reconnect.py).
    """
    cloud.answer(uuid_of(0), station_answer(0))
    with ExitStack() as stack:
        bridges: list[tuple[Proxy, BridgeProcess]] = []
        for protocol, number in itertools.product(("5", "3.1.1"), range(2)):
            proxy = stack.enter_context(Proxy(broker.port))  # one per bridge, to count its connections
            mqtt = {"protocol": protocol, "client_id": protocol}
            config = configure(tmp_path / f"{protocol}-{number}", proxy, cloud, mqtt=mqtt, log={"level": "info"})
            bridges.append((proxy, stack.enter_context(running_bridge(config))))
        end = time.monotonic() + 24
        for _, bridge in bridges:
            bridge.wait_for_line('"level": "error"')
        sleep_until(end)
        for proxy, bridge in bridges:
            assert 3 <= len(proxy.connections) <= 6, "the broker disconnects them in turn, less and less often"
            (error,) = log_entries(bridge, level="error")
            assert "mqtt.client_id" in error["advice"]
            assert len(log_entries(bridge)) <= 10
            gaps = " ".join(f"{later - earlier:.0f}" for earlier, later in pairwise(proxy.connections))
            report_row(
                18,
                f"MQTT {error['client_id']}: {len(proxy.connections)} connections in 24 s (s between them: {gaps}), "
                f"1 error: {error['message']!r}",
            )
