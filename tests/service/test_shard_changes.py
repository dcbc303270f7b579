"""Shards that begin and end while the bridge runs, without a broker."""

import random

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.events import Listener, StationRemoved
from evse_mqtt_bridge.domain.shards import Claim, shard_of
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.components.publishing import Publishing
from tests.harness.clock import Clock as VirtualClock

_UUIDS = [f"e{number}" for number in range(8)]


class _Removals(Listener):
    def __init__(self) -> None:
        self.uuids: list[str] = []

    def station_removed(self, event: StationRemoved) -> None:
        self.uuids.append(event.uuid)


async def test_stopped_shard_leaves_nothing_of_its_stations() -> None:
    config = Config.model_validate(
        {
            "mqtt": {"host": "127.0.0.1", "port": 1},
            "fleet": {"engine": "etcd", "endpoints": ["http://127.0.0.1:1"], "shards": 2},
            "stations": [{"edge_device_id": "1", "uuid": uuid, "token": "t"} for uuid in _UUIDS],
        }
    )
    clock, removals = VirtualClock(), _Removals()
    stations = Stations({}, Rules(), clock.monotonic)
    publishing = Publishing(config, stations, Clock(clock, random.random, clock.now), removals)
    await publishing.start()
    publishing.begin([Claim(0, "m1", 1), Claim(1, "m1", 2)], {1})
    assert (publishing.held_part, set(stations.all)) == (1.0, set(_UUIDS))
    publishing.renumber(Claim(0, "m1", 9))
    await publishing.end([1], is_handed_over=True)
    remaining = {uuid for uuid in _UUIDS if shard_of(uuid, 2) == 0}
    assert set(removals.uuids) == set(_UUIDS) - remaining
    assert (publishing.held_part, set(stations.all), set(publishing.plan.stations)) == (0.5, remaining, remaining)
    await publishing.end([0, 1], is_handed_over=False)
    assert (publishing.held_part, stations.all) == (0.0, {})
    await publishing.stop()
