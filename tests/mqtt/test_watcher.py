"""The watch with a real broker: two bridges with the same stations, cleared topics, and a refused watch."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import Listener
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.mqtt.session import Session, Timing
from tests.harness import Mosquitto, Observer
from tests.harness.samples import at, plug_reading, reading
from tests.harness.strict_proxy import StrictProxy
from tests.publishing.bridge import Bridge, plan

_NORTH = Station("e1", 30, alias="north")
_TIMING = Timing(stage_pause=0.05, repair_pause=0.05, others_pause=0.05)
_Events = dict[str, list[Any]]
_Protocol = Literal["5", "3.1.1"]
_POWER = "ha/sensor/evse_e1_p1/power/config"


class _Recorder(Listener):
    """Records the events, by their names."""

    def __init__(self) -> None:
        self.events: dict[str, list[Any]] = {}

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  # any attribute
        if hasattr(Listener, name) and not name.startswith("_"):
            return lambda event: self.events.setdefault(type(event).__name__, []).append(event)
        return super().__getattribute__(name)


@asynccontextmanager
async def _running(
    broker: Mosquitto | StrictProxy, base: str = "evse", *, protocol: _Protocol = "5", station: Station = _NORTH
) -> AsyncIterator[tuple[Callable[[], dict[str, str]], _Events]]:
    """Run a session with one station; yield a function that returns its topics, and the events by name."""
    bridge, recorder = Bridge(plan(station, form="entity", base=base, client_id=base)), _Recorder()
    bridge.poll("e1", reading(plug_reading("p1")), at(0))
    settings = Mqtt(host=broker.host, port=broker.port, client_id=base, base_topic=base, protocol=protocol)
    session = Session(settings, bridge.publication, recorder, lambda: 0.5, _TIMING)
    task = asyncio.create_task(session.run())
    try:
        yield lambda: {topic: payload.decode() for topic, payload in bridge.everything().items()}, recorder.events
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


async def _until_watching(observer: Observer, events: _Events, expected: Callable[[], dict[str, str]]) -> None:
    """Overwrite a topic until the bridge notices, because nothing reports that it watches."""
    await _until(lambda: observer.retained == expected())
    while "TopicsDisturbed" not in events:
        observer.publish("evse/north/p1/status", "anything", retain=True)
        await asyncio.sleep(0.1)
    await _until(lambda: observer.retained == expected())


async def test_cleared_and_overwritten_topics_come_back(broker: Mosquitto, observer: Observer) -> None:
    async with _running(broker) as (expected, events):
        await _until_watching(observer, events, expected)
        for topic in (_POWER, "evse/bridge/availability", "evse/north/info", "evse/north/p1/power"):
            observer.publish(topic, "", retain=True)
        observer.publish("evse/north/availability", "offline", retain=True)
        await _until(lambda: observer.retained == expected())


async def test_two_bridges_report_each_other_and_do_not_fight(broker: Mosquitto, observer: Observer) -> None:
    async with _running(broker) as (expected, events):
        await _until_watching(observer, events, expected)
        async with _running(broker, "laptop") as (other, others_events):
            await _until(lambda: "SameStations" in events and "SameStations" in others_events)
            for found, base in ((events, "laptop"), (others_events, "evse")):
                assert {(each.client_id, each.base_topic, each.stations) for each in found["SameStations"]} == {
                    (base, base, 1)
                }
            await _until(lambda: observer.retained == expected() | other())
            observer.sync()
            assert "TopicsDisturbed" not in others_events
        await _until(lambda: "OtherBridgeStopped" in events)
        await _until(lambda: observer.retained == other() | {"laptop/bridge/availability": "offline"} | expected())


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_refused_watch_does_not_matter(broker: Mosquitto, observer: Observer, protocol: _Protocol) -> None:
    with StrictProxy(broker.port, subscribe=["ha/+/+/+/config"]) as proxy:
        async with _running(proxy, protocol=protocol) as (expected, events):
            if protocol == "5":
                await _until(lambda: "SubscriptionRejected" in events)
            await _until(lambda: observer.retained == expected())
            assert len(proxy.connections) <= 2


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_changed_alias_is_not_taken_for_another_client(
    broker: Mosquitto, observer: Observer, protocol: _Protocol
) -> None:
    """The `info` with the previous entry must not come back, because it differs from the one that follows."""
    async with _running(broker, protocol=protocol) as (expected, _):
        await _until(lambda: observer.retained == expected())
    renamed = Station("e1", 30, alias="north", plugs={"p1": "left"})
    async with _running(broker, protocol=protocol, station=renamed) as (expected, events):
        await _until(lambda: observer.retained == expected())
        assert any('"previous"' in each for each in observer.payloads("evse/north/info"))
        await asyncio.sleep(10 * _TIMING.repair_pause)  # there is no event for a repair that does not happen
        assert "TopicsDisturbed" not in events
