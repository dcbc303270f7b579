"""Each QoS level, with more messages than the send window holds."""

from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.mqtt.limits import WINDOW_QOS_0
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import plug_object
from tests.harness.configuration import station_table, write_config
from tests.service.conftest import Start

_AVAILABILITY = "evse/bridge/availability"
_STATIONS = [f"{number:032x}" for number in range(40)]
_PLUG = "c" * 32


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_qos_publishes_everything_at_each_stage(
    tmp_path: Path,
    tables: dict[str, Any],
    cloud: CloudServer,
    broker: Mosquitto,
    observer: Observer,
    bridge_process: Start,
    qos: int,
) -> None:
    for uuid in _STATIONS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid, plug_uuid=_PLUG, power=1000)])
    tables["mqtt"]["qos"] = qos
    tables["cloud"] |= {"max_requests_per_second": 0}
    tables["stations"] = [station_table(uuid) for uuid in _STATIONS]
    bridge = bridge_process(write_config(tmp_path / "config.toml", tables))
    powers = {f"evse/{uuid}/{_PLUG}/power": uuid for uuid in _STATIONS}

    def wait_for_all(power: str) -> None:
        observer.wait(
            lambda: all(observer.latest.get(topic) == power for topic in powers), what=f"{power} W on each topic"
        )

    # at the start
    observer.wait_for(_AVAILABILITY, "online")
    wait_for_all("1000")
    observer.sync()
    at_start = observer.retained
    assert len(at_start) > WINDOW_QOS_0
    assert {seen.qos for seen in observer.messages if seen.topic in powers} == {
        min(qos, 1)
    }  # the observer subscribes with QoS 1

    # after a change
    for uuid in _STATIONS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid, plug_uuid=_PLUG, power=2000)])
    wait_for_all("2000")

    # after a restart of the broker, which loses the retained messages
    broker.stop()
    start = observer.count
    broker.start()
    observer.wait(
        lambda: {seen.topic for seen in observer.messages_since(start)} >= at_start.keys(),
        what="a full republish to the restarted broker",
    )
    assert observer.retained.keys() == at_start.keys()
    wait_for_all("2000")

    # at the end
    bridge.stop()
    observer.wait_for(_AVAILABILITY, "offline")
