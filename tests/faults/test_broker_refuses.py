"""Rows 17 and 18 of the fault contract: a broker that says no, to a message, a login or a second client."""

import base64
import hashlib
import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.setup import (
    AVAILABILITY,
    PLUG,
    configure,
    log_entries,
    running_bridge,
    sleep_until,
    station_answer,
    uuid_of,
    wait_until_up,
)
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.proxy import Proxy

ReportRow = Callable[[int, str], None]


def test_what_the_access_rules_refuse_is_said_once_and_the_rest_flows(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 17: an ACL that lets nobody publish `power` and one station's `info`; MQTT 5 tells the bridge."""
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
        refused = log_entries(bridge, "the broker refused a message", level="error")
        assert sorted(entry["topic"] for entry in refused) == [
            f"evse/{uuid_of(0)}/{PLUG}/power",
            f"evse/{uuid_of(0)}/info",
            f"evse/{uuid_of(1)}/{PLUG}/power",
        ]
        assert {entry["reason"] for entry in refused} == {"Not authorized"}
        assert not [topic for topic in observer.retained if topic.endswith("/power")]
        assert len(log_entries(bridge, "connected to the broker")) == 1
        seen = len(observer.payloads(f"evse/{uuid_of(1)}/{PLUG}/state"))
        assert seen > 1, "state goes on being published"
    report_row(17, f"ACL: {len(refused)} error lines for 3 topics, {refused[0]['reason']!r}; `state` seen {seen} times")


def test_what_is_too_large_for_the_broker_is_not_sent(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 17: `max_packet_size`, with a label that does not fit; MQTT 5 tells the limit before."""
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
        refused = log_entries(bridge, "the broker refused a message", level="error")
        assert sorted(entry["topic"] for entry in refused) == [
            f"evse/{uuid_of(0)}/{PLUG}/label",
            f"evse/{uuid_of(0)}/{PLUG}/state",
            f"evse/{uuid_of(0)}/info",
        ]
        assert all("bytes are more than the 4000 it takes" in entry["reason"] for entry in refused)
        assert len(log_entries(bridge, "connected to the broker")) == 1
        assert "oversize" not in broker.log.lower()
    report_row(17, f"too large: {len(refused)} error lines for 3 topics, {refused[0]['reason']!r}")


def test_a_broker_without_qos_1_is_told_with_what_to_set(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 17: it refuses the will, before it can say what it supports."""
    cloud.answer(uuid_of(0), station_answer(0))
    with Mosquitto(tmp_path / "broker", extra=["max_qos 0"]) as broker:
        with running_bridge(configure(tmp_path / "refused", broker, cloud)) as bridge:
            bridge.wait_for_line("the broker refused the connection")
            (told,) = log_entries(bridge, "the broker refused the connection")
            assert told["detail"] == "QoS not supported: set mqtt.qos = 0"
        with running_bridge(configure(tmp_path / "taken", broker, cloud, mqtt={"qos": 0})) as bridge:
            bridge.wait_for_line("connected to the broker")
    report_row(17, f"Maximum QoS 0: {told['detail']}")


def password_line(user: str, password: str) -> str:
    """A line of Mosquitto's password file."""
    salt = os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_refused_login_is_said_once_and_tried_on(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow, protocol: str
) -> None:
    """Row 5: the password is wrong until the broker learns it."""
    passwords = tmp_path / "passwords"
    passwords.write_text(password_line("bridge", "another"))
    mqtt = {"username": "bridge", "password": "canary-password", "protocol": protocol}
    with (
        Mosquitto(tmp_path / "broker", extra=[f"password_file {passwords}"], anonymous=False) as broker,
        running_bridge(configure(tmp_path, broker, cloud, mqtt=mqtt)) as bridge,
    ):
        bridge.wait_for_line("still no lasting connection", 30)
        passwords.write_text(password_line("bridge", "canary-password"))
        os.kill(broker.pid, signal.SIGHUP)
        with Observer(broker.port, username="bridge", password="canary-password") as observer:
            observer.wait_for(AVAILABILITY, "online", timeout=20)
        (told,) = log_entries(bridge, level="error", message="login")
        assert "mqtt.password" in told["advice"]
        assert "canary" not in bridge.stderr_text
    report_row(5, f"MQTT {protocol}: {told['message']}: {told['detail']}; {told['advice']}")


def test_two_bridges_with_one_client_id_throw_each_other_out_in_moderation(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 18: for somewhat more than a minute, with either protocol; not every broker has a word for it."""
    cloud.answer(uuid_of(0), station_answer(0))
    with ExitStack() as stack:
        bridges: list[tuple[Proxy, BridgeProcess]] = []
        for protocol, number in itertools.product(("5", "3.1.1"), range(2)):
            way = stack.enter_context(Proxy(broker.port))  # each has its own, which tells its connections
            mqtt = {"protocol": protocol, "client_id": protocol}
            config = configure(tmp_path / f"{protocol}-{number}", way, cloud, mqtt=mqtt, log={"level": "info"})
            bridges.append((way, stack.enter_context(running_bridge(config))))
        sleep_until(time.monotonic() + 64)
        for way, bridge in bridges:
            assert len(way.connections) >= 3, "they do throw each other out"
            busiest = max(sum(start <= at < start + 60 for at in way.connections) for start in way.connections)
            assert busiest <= 6
            (error,) = log_entries(bridge, level="error")
            assert "mqtt.client_id" in error["advice"]
            assert len(log_entries(bridge)) <= 10
            gaps = " ".join(f"{later - earlier:.0f}" for earlier, later in pairwise(way.connections))
            told = f"MQTT {error['client_id']}: at most {busiest} connections in a minute (s between them: {gaps})"
            report_row(18, f"{told}, 1 error: {error['message']!r}")
