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
    wait_for,
    wait_for_event,
    wait_until_up,
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
    assert count <= (5 if qos else 8), "at QoS 0, several messages are suspects of each end"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_forbidden_search_is_given_up_after_the_values(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow, protocol: str
) -> None:
    """Row 17: the filters that find topics of previous base topics are not worth a connection before the values."""
    cloud.answer(uuid_of(0), station_answer(0))
    searches = ["+/bridge/info", "+/+/bridge/info", "+/+/+/bridge/info", "+/+/+/+/bridge/info"]
    with (
        StrictProxy(broker.port, subscribe=searches) as proxy,
        running_bridge(configure(tmp_path, proxy, cloud, mqtt={"protocol": protocol})) as bridge,
    ):
        wait_until_up(observer, 0)
        wait_for_event(bridge, "subscription_rejected")
        (entry,) = log_entries(bridge, "subscription_rejected")
        assert entry["filter"] == searches[0]
        wait_for(lambda: len(proxy.connections) == 3, 60, "the third connection")
        observer.wait_for("evse/bridge/availability", "online")
        cloud.wait_for_requests(len(cloud.requests) + 3)
        assert len(proxy.connections) == 3, "the search is given up"
        assert len(log_entries(bridge, "subscription_rejected")) == 1
    report_row(17, f"MQTT {protocol}: values on the second connection, the search given up after it")


def test_forbidden_filter_of_the_manifest_is_given_up(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    """Row 17: a filter that the bridge needs before it publishes is tried twice, then named and left out."""
    cloud.answer(uuid_of(0), station_answer(0))
    with (
        StrictProxy(broker.port, subscribe=["evse/+/info"]) as proxy,
        running_bridge(configure(tmp_path, proxy, cloud)) as bridge,
    ):
        wait_until_up(observer, 0)
        observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/power", "7107")
        (entry,) = log_entries(bridge, "subscription_rejected")
        assert entry["filter"] == "evse/+/info"
        details = [entry["detail"] for entry in log_entries(bridge, "broker_connection_lost")]
        assert "after a subscription to" in details[0]
