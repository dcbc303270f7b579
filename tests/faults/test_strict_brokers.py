"""Brokers that close the connection at a forbidden PUBLISH or SUBSCRIBE, instead of rejecting it."""

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
)
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.strict_proxy import StrictProxy


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_forbidden_discovery_is_left_out(
    tmp_path: Path,
    cloud: CloudServer,
    broker: Mosquitto,
    observer: Observer,
    report_row: ReportRow,
    protocol: str,
    qos: int,
) -> None:
    """Row 17: discovery goes first on each connection, so that values would never be published."""
    for number in range(2):
        cloud.answer(uuid_of(number), station_answer(number))
    with (
        StrictProxy(broker.port, publish=["homeassistant/"]) as proxy,
        running_bridge(configure(tmp_path, proxy, cloud, 2, mqtt={"protocol": protocol, "qos": qos})) as bridge,
    ):
        wait_for_event(bridge, "publish_forbidden", timeout=60)
        observer.wait_for("evse/bridge/availability", "online", timeout=60)
        for number in range(2):
            observer.wait_for(f"evse/{uuid_of(number)}/{PLUG}/power", "7107")
            observer.wait_for(f"evse/{uuid_of(number)}/availability", "online")
        (entry,) = log_entries(bridge, "publish_forbidden", level="error")
        assert entry["filter"] == "homeassistant/#"
        assert not [topic for topic in observer.latest if topic.startswith("homeassistant/")]
        count = len(proxy.connections)
    report_row(17, f"MQTT {protocol}, QoS {qos}: {count} connections until {entry['filter']} is left out")
    assert count <= 5
