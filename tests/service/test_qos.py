"""Each quality of service, with more messages than may wait for the broker at once."""

from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.mqtt.connection import WINDOW_QOS_0
from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import plug_object
from tests.harness.configuration import station_table, write_config
from tests.service.conftest import Start

_AVAILABILITY = "evse/bridge/availability"
_STATIONS = [f"{number:032x}" for number in range(40)]
_PLUG = "c" * 32


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_all_is_published_at_the_start_while_running_on_a_broker_that_forgot_and_at_the_end(
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

    def all_say(power: str) -> None:
        observer.wait(
            lambda: all(observer.latest.get(topic) == power for topic in powers), what=f"{power} W everywhere"
        )

    observer.wait_for(_AVAILABILITY, "online")
    all_say("1000")
    observer.sync()
    picture = observer.retained
    assert len(picture) > WINDOW_QOS_0
    assert {seen.qos for seen in observer.messages if seen.topic in powers} == {min(qos, 1)}  # observers ask for 1

    for uuid in _STATIONS:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid, plug_uuid=_PLUG, power=2000)])
    all_say("2000")

    broker.stop()
    broker.start()
    observer.wait(lambda: set(observer.retained) == set(picture), what="the whole picture on a broker that forgot")
    all_say("2000")

    bridge.stop()
    observer.wait_for(_AVAILABILITY, "offline")
