"""Measures how long a member needs for shards that another one passes on to it, without polls.

The broker has the manifest and the states of all stations, as a member published them. The benchmark holds all shards
in etcd itself, and passes half of them on to the bridge.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.cloud import plugs_of
from benchmarks.fleet.rig import FleetRig, FleetSettings, cpu_of
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.config.plan import Plans
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Reading
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.shards import Claim, Share
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.fleet.engines import create_engine
from evse_mqtt_bridge.fleet.port import Engine, MemberRecord
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.plain import bridge_availability
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.renderer import Renderer
from tests.harness.net import HOST

__all__ = ["measure_begin"]

_BEAT = 2.0


def measure_begin(stations: int, shards: int) -> str:
    """Return what was measured, in one line."""
    settings = FleetSettings(stations, shards, interval=1000, rate=0.01)
    with FleetRig(settings) as fleet:
        return asyncio.run(_measure(fleet))


async def _measure(fleet: FleetRig) -> str:
    config = load(fleet.rig.config, {}).config
    engine = create_engine(config)
    if engine is None:
        raise RuntimeError("the configuration has no engine")
    plans, shards = Plans(config), fleet.settings.shards
    plan_of = {shard: plans.shard(Share(shard, shards), Claim(shard, "m0", 1, "bench")) for shard in range(shards)}
    _publish(fleet.rig.broker.port, (message for plan in plan_of.values() for message in _messages(plan)))
    record = MemberRecord("m0", "bench", shards, "bench", "bench")
    beating = asyncio.create_task(_hold(engine, record))
    await asyncio.sleep(_BEAT)
    began = time.monotonic()
    fleet.start("m1")
    with Subscriber(fleet.rig.broker.port, "evse/bridge/members/m1") as subscriber:
        await asyncio.to_thread(subscriber.wait, lambda latest: latest, 120, "the connection of the member")
    reading = time.monotonic() - began
    await asyncio.sleep(3 * _BEAT)
    counts, lock = [0, 0], threading.Lock()
    online: set[str] = set()

    def received(topic: str, payload: bytes) -> None:
        with lock:
            counts[0] += 1
            counts[1] += topic.startswith("homeassistant/")
            if payload == b"online" and "/bridge/" in topic:
                online.add(topic)

    taken = range(shards // 2)
    wanted = {plan_of[shard].topics.availability for shard in taken}
    with Subscriber(fleet.rig.broker.port, "homeassistant/#", "evse/+/+/+", "evse/+/+", on_message=received):
        before = -1
        while before != counts[0]:  # retained messages
            before = counts[0]
            await asyncio.sleep(3)
        counts[:] = 0, 0
        online.clear()
        began, cpu = time.monotonic(), cpu_of(fleet.members["m1"].pid)
        view = await engine.beat(record)
        for shard in taken:
            await engine.pass_on(shard, view.holders[shard].claim, ["m1"])
        while not wanted <= online:  # noqa: ASYNC110  # set in another thread
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - began
        cpu = cpu_of(fleet.members["m1"].pid) - cpu
        await asyncio.sleep(1)
    beating.cancel()
    number = sum(len(plan_of[shard].stations) for shard in taken)
    parts = (
        f"{number} of {fleet.settings.stations} stations passed on",
        f"shards online after {seconds:.1f} s, of which up to 2.5 s until the next beat",
        f"{cpu:.1f} s of CPU time",
        f"{counts[0]} messages, of which {counts[1]} discovery",
        f"the member was ready {reading:.1f} s after its start",
    )
    return "; ".join(parts)


async def _hold(engine: Engine, record: MemberRecord) -> None:
    """Hold all shards that nobody has."""
    view = await engine.beat(record)
    for shard in range(record.shards):
        if shard not in view.holders:
            await engine.claim(shard)
    while True:
        await asyncio.sleep(_BEAT)
        await engine.beat(record)


def _messages(plan: Plan) -> Iterator[Message]:
    """Yield manifest entries and states, as after polls of all stations."""
    stations = Stations(plan.stations, plan.rules, 0.0)
    now = datetime.now(UTC)
    renderer = Renderer(plan, stations, now)
    for uuid in plan.stations:
        plugs = tuple(
            PlugReading(plug, f"Plug {number}", "idle", 0.0, 0.0, 0.0, 0.0, 6.0, now)
            for number, plug in enumerate(plugs_of(uuid), start=1)
        )
        stations.apply_outcome(uuid, Reading(plugs), Moment(1.0, now), 0.1)
        yield from (each for each in renderer.all_messages(uuid) if each.topic.endswith(("/info", "/state")))
    renderer.is_discovery_complete = True
    yield renderer.bridge_info()
    yield bridge_availability(plan.topics, online=True)


def _publish(port: int, messages: Iterator[Message]) -> None:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.connect(HOST, port)
    client.loop_start()
    last = None
    for number, message in enumerate(messages):
        last = client.publish(message.topic, message.payload, qos=1, retain=True)
        if number % 500 == 0:
            last.wait_for_publish(60)
    if last is not None:
        last.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
