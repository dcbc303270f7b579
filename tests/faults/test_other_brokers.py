"""Brokers other than Mosquitto: they do not know MQTT 5, and deliver retained messages in their own way."""

from pathlib import Path

import pytest

from tests.faults.setup import (
    PLUG,
    ReportRow,
    configure,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.harness import CloudServer, Observer, run_command
from tests.harness.other_brokers import OTHER_BROKERS, OtherBroker


@pytest.mark.parametrize("name", OTHER_BROKERS)
def test_broker_without_mqtt_5_is_used_with_3_1_1(
    tmp_path: Path, cloud: CloudServer, report_row: ReportRow, name: str
) -> None:
    """Row 17: the default configuration publishes and cleans up, and `check --online` shows the version."""
    for number in range(2):
        cloud.answer(uuid_of(number), station_answer(number))
    with (
        OtherBroker(name, tmp_path / "broker") as broker,
        Observer(broker.port, "evse/#", protocol="3.1.1") as observer,
    ):
        config = configure(tmp_path, broker, cloud, 2)
        with running_bridge(config) as bridge:
            wait_until_up(observer, 0, 1)
            observer.wait_for(f"evse/{uuid_of(1)}/{PLUG}/power", "7107")
            (entry,) = log_entries(bridge, "older_version_used")
            assert entry["version"] == "3.1.1"
            assert not log_entries(bridge, "broker_connection_rejected", "broker_unreachable", "restore_uncertain")
            bridge.stop()
        result = run_command("check", "--online", "--config", config)
        assert f"broker 127.0.0.1:{broker.port}: connection accepted, MQTT 3.1.1" in result.stdout
        with running_bridge(configure(tmp_path, broker, cloud, 1)) as bridge:
            wait_until_up(observer, 0)
            observer.wait(lambda: not [topic for topic in observer.latest if uuid_of(1) in topic])
        with running_bridge(configure(tmp_path, broker, cloud, 1, mqtt={"protocol": "5"})) as bridge:
            wait_for_event(bridge, "broker_connection_rejected")
            (entry,) = log_entries(bridge, "broker_connection_rejected")
            assert entry["detail"] == "Unsupported protocol version: set mqtt.protocol"
    report_row(17, f"{name}: MQTT 3.1.1 after a refusal of MQTT 5, and 0 topics of a removed station")
