"""The session with a real broker: overtaken changes, birth messages, and polls that leave the event loop no time."""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.events import BrokerConnected, ConsumerStarted, Listener
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.mqtt import connect_options
from evse_mqtt_bridge.mqtt import connection as mqtt
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.limits import WINDOW_QOS_0
from evse_mqtt_bridge.mqtt.session import Session, Timing
from evse_mqtt_bridge.publishing.plan import Plan
from tests.harness import Mosquitto, Observer
from tests.harness.samples import at, plug_reading, reading
from tests.publishing.bridge import Bridge, plan

_NORTH, _SOUTH = Station("e1", 30, alias="north"), Station("e2", 30)
_QUICK = Timing(stage_pause=0.05, birth_spread=0.1)


class _Recorder(Listener):
    """Records the names of the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401  # any attribute
        if hasattr(Listener, name) and not name.startswith("_"):
            return lambda event: self.events.append(type(event).__name__)
        return super().__getattribute__(name)


class _RunningSession:
    """A bridge whose session runs against a broker."""

    def __init__(self, bridge: Bridge, session: Session, recorder: _Recorder) -> None:
        self.bridge = bridge
        self.session = session
        self.recorder = recorder

    def poll(self, uuid: str, power: float = 7107.0, seconds: float = 0) -> None:
        event = self.bridge.stations.apply_outcome(uuid, reading(plug_reading(power=power)), at(seconds), 0.1)
        self.session.station_changed(event.station, event.old, event.new)

    def everything(self) -> dict[str, str]:
        return {topic: payload.decode() for topic, payload in self.bridge.everything().items()}


@asynccontextmanager
async def _running(broker: Mosquitto, configured: Plan, timing: Timing, qos: int = 1) -> AsyncIterator[_RunningSession]:
    bridge, recorder = Bridge(configured), _Recorder()
    settings = Mqtt(host=broker.host, port=broker.port, client_id="me", qos=qos)
    session = Session(settings, bridge.publication, recorder, lambda: 0.5, timing)
    task = asyncio.create_task(session.run())
    await _until(lambda: session.is_live)
    yield _RunningSession(bridge, session, recorder)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    "changes",
    [
        [plan(_NORTH, _SOUTH, form="device"), plan(_NORTH, form="device")],
        [plan(_NORTH, form="entity"), plan(_NORTH, form="device")],
        [plan(_NORTH, _SOUTH, form="device"), plan(_NORTH, _SOUTH, form="entity"), plan(_NORTH, form="device")],
    ],
    ids=["station removed during a change of form", "form changed while a station is removed", "there and back"],
)
async def test_overtaken_change_leaves_nothing_behind(
    broker: Mosquitto, observer: Observer, changes: list[Plan]
) -> None:
    async with _running(broker, plan(_NORTH, _SOUTH, form="entity"), _QUICK) as running:
        for uuid in ("e1", "e2"):
            running.poll(uuid)
        for change in changes:
            running.session.reconfigure(change)
        await _until(lambda: running.session.is_live)
        expected = running.everything()
        with contextlib.suppress(TimeoutError):
            await _until(lambda: observer.retained == expected)
        assert observer.retained == expected


async def test_session_reports_connection_and_birth_message(broker: Mosquitto, observer: Observer) -> None:
    configured = replace(plan(_NORTH, form="entity"), birth_topic="ha/status")
    async with _running(broker, configured, _QUICK) as running:
        await _until(lambda: observer.retained == running.everything())
        published = running.session.published
        observer.publish("ha/status", "online", retain=False)
        await _until(lambda: "ConsumerStarted" in running.recorder.events)
        await _until(lambda: running.session.published >= published + len(running.everything()))
        assert running.recorder.events == ["BrokerConnected", "ConsumerStarted"]
    assert observer.retained["evse/bridge/availability"] == "offline"


async def test_births_faster_than_a_republish_let_it_end(broker: Mosquitto, observer: Observer) -> None:
    stations = [Station(f"e{number}", 30) for number in range(200)]
    configured = replace(plan(*stations, form="entity"), birth_topic="ha/status")
    async with _running(broker, configured, Timing(birth_spread=0, birth_spacing=0)) as running:
        for number in itertools.count(1):
            observer.publish("ha/status", "online", retain=False)
            running.poll("e7", number, number)
            await asyncio.sleep(0.005)
            is_online = observer.latest.get("evse/bridge/availability") == "online"
            if is_online and running.recorder.events.count("ConsumerStarted") > 2:
                break
            assert number < 5000, running.recorder.events
        await _until(lambda: observer.latest["evse/e7/p1/power"] == str(number))
        published = [message.payload for message in observer.messages if message.topic == "evse/bridge/availability"]
        assert set(published) == {"online"}


class _ReloadOnConnect(Listener):
    """Reconfigures the session once a connection is accepted, before its first subscription."""

    def __init__(self, plan: Plan) -> None:
        self.session: Session | None = None
        self.consumer_starts = 0
        self._plan = plan

    def broker_connected(self, event: BrokerConnected) -> None:
        del event
        assert self.session is not None
        self.session.reconfigure(self._plan)

    def consumer_started(self, event: ConsumerStarted) -> None:
        del event
        self.consumer_starts += 1


async def test_birth_topic_changed_on_connect_is_subscribed_to(broker: Mosquitto, observer: Observer) -> None:
    before = replace(plan(_NORTH, form="entity"), birth_topic="ha/status")
    bridge, listener = Bridge(before), _ReloadOnConnect(replace(before, birth_topic="other/status"))
    settings = Mqtt(host=broker.host, port=broker.port, client_id="me")
    listener.session = session = Session(settings, bridge.publication, listener, lambda: 0.5, _QUICK)
    task = asyncio.create_task(session.run())
    await _until(lambda: session.is_live)
    await asyncio.sleep(0.2)  # for the subscription, which nothing reports
    observer.publish("other/status", "online", retain=False)
    await _until(lambda: listener.consumer_starts == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("answer", [b"", b"no TLS at all\r\n"])
async def test_failed_handshake_leaves_no_socket_open(answer: bytes) -> None:
    """Not even until the garbage collector runs: with a broker that fails for hours, they would pile up."""

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    gc.collect()
    gc.disable()
    try:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            settings = Mqtt(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls=Tls())
            handlers = connect_options.Handlers(lambda *_: None, lambda *_: None, lambda: None)
            tls, opened = connect_options.tls_context(settings.tls), []
            for _ in range(8):
                assert isinstance(
                    await mqtt.connect(connect_options.ConnectOptions(settings, tls), handlers), Disconnected
                )
                opened.append(_open_files())
            assert opened[-1] - opened[0] < 4, opened
    finally:
        gc.enable()


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_polls_without_a_pause_are_published(broker: Mosquitto, observer: Observer, qos: int) -> None:
    """More is published than may be unacknowledged, within one iteration of the event loop."""
    enough = 5 * WINDOW_QOS_0
    async with _running(broker, plan(_NORTH, _SOUTH, form="entity"), Timing(), qos) as running:
        before, until = running.session.published, time.monotonic() + 10
        for number in itertools.count():
            running.poll("e1" if number % 2 else "e2", number / 10, number)
            if running.session.published - before > enough or time.monotonic() > until:
                break
        assert running.session.published - before > enough
        expected = running.everything()
        await _until(lambda: observer.retained == expected)


async def test_gate_keeps_a_session_from_connecting_again(broker: Mosquitto, observer: Observer) -> None:
    """Another member continues the session: the first one neither reports an outage nor connects again."""
    is_open, calls = True, 0

    async def gate() -> bool:
        nonlocal calls
        calls += 1
        return is_open

    timing = replace(_QUICK, gate_pause=0.05)
    async with _running(broker, plan(_NORTH), timing) as first:
        first.session.gate = gate
        is_open = False
        async with _running(broker, plan(_NORTH), timing) as second:
            await _until(lambda: calls >= 3)
            assert "BrokerDisconnected" not in first.recorder.events
            assert second.session.is_live
            second.session.abandon()
        observer.sync()
        assert "offline" not in observer.payloads("evse/bridge/availability")
        is_open = True
        await _until(lambda: first.session.is_live)


async def test_abandoned_session_publishes_nothing_more(broker: Mosquitto, observer: Observer) -> None:
    async with _running(broker, plan(_NORTH), _QUICK) as running:
        await _until(lambda: observer.retained == running.everything())
        count = observer.count
        running.session.abandon()
        running.poll("e1", power=1.0)
    observer.sync()
    assert [message.topic for message in observer.messages_since(count) if "power" in message.topic] == []
    assert observer.retained["evse/bridge/availability"] == "online"  # the broker delays the will
