"""The session with a real broker: changes that overtake each other, and polls that leave the event loop no time."""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.mqtt import connection as mqtt
from evse_mqtt_bridge.mqtt import session as sessions
from evse_mqtt_bridge.mqtt.session import Session
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery, Form
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness import Mosquitto, Observer
from tests.harness.samples import NOW, at, plug_reading, reading

_NORTH, _SOUTH = Station("e1", 30, alias="north"), Station("e2", 30)


class _Log:
    """Expects nothing but a connection that stands."""

    def broker_connected(self) -> None:
        pass

    def broker_ended(self, ended: mqtt.Disconnected, _wait: float) -> None:
        raise AssertionError(ended)

    def publish_refused(self, topic: str, reason: str) -> None:
        raise AssertionError(topic, reason)

    def subscription_refused(self, topic_filter: str) -> None:
        raise AssertionError(topic_filter)

    def birth_seen(self) -> None:
        pass

    def farewell_failed(self) -> None:
        raise AssertionError


def _plan(*stations: Station, form: Form) -> Plan:
    topics = Topics("evse")
    discovery = Discovery(topics, "ha", form, 1, "me", "1")
    return Plan(topics, "me", {station.uuid: station for station in stations}, Rules(), discovery)


def _whole(bridge: Bridge) -> dict[str, str]:
    """What the broker is to show in the end."""
    return {message.topic: message.payload.decode() for message in bridge.whole()}


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.01)


def test_what_waits_is_not_put_into_words_of_the_plan_that_a_transition_is_to_lead_to() -> None:
    bridge = Bridge(_plan(_NORTH, _SOUTH, form="entity"), NOW)
    session = Session(Mqtt(host="broker.example"), bridge, _Log(), lambda: 0.0)
    session._open = session._greeted = True
    bridge.take("e1", reading(), at(0), session)
    session.repeat()
    assert session._outbox.take() is not None, "both wait"
    bridge.apply(_plan(_NORTH, _SOUTH, form="device"), session)
    assert session._outbox.take() is None, "until the steps of the transition come"


def test_a_record_that_changes_during_a_transition_is_said_at_its_end() -> None:
    """Before, it would no longer tell of what is cleared last, if the connection were lost in between."""
    bridge = Bridge(_plan(_NORTH, form="entity"), NOW)
    session = Session(Mqtt(host="broker.example"), bridge, _Log(), lambda: 0.0)
    record = messages.station_info(Topics("evse"), _NORTH, bridge.state("e1"), "me", None)
    session._greeted = True
    session.publish_last([record])
    assert session._outbox.take() is None
    session._open = True
    session.publish_last([record])
    assert session._outbox.take() == record


@pytest.mark.parametrize(
    "changes",
    [
        [_plan(_NORTH, _SOUTH, form="device"), _plan(_NORTH, form="device")],
        [_plan(_NORTH, form="entity"), _plan(_NORTH, form="device")],
        [_plan(_NORTH, _SOUTH, form="device"), _plan(_NORTH, _SOUTH, form="entity"), _plan(_NORTH, form="device")],
    ],
    ids=["a station goes during a change of form", "the form changes while a station goes", "there and back"],
)
def test_a_change_that_overtakes_another_leaves_nothing_behind(
    broker: Mosquitto, observer: Observer, changes: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STEP_PAUSE", 0.05)
    monkeypatch.setattr(sessions, "QUIET", 0.2)

    async def work() -> None:
        bridge = Bridge(_plan(_NORTH, _SOUTH, form="entity"), NOW)
        session = Session(Mqtt(host=broker.host, port=broker.port, client_id="me"), bridge, _Log(), lambda: 0.0)
        running = asyncio.create_task(session.run())
        await _until(lambda: session.connected)
        for uuid in ("e1", "e2"):
            bridge.take(uuid, reading(), at(0), session)
        for plan in changes:
            bridge.apply(plan, session)
        await _until(lambda: session.connected)
        expected = _whole(bridge)
        with contextlib.suppress(TimeoutError):
            await _until(lambda: observer.retained == expected)
        assert observer.retained == expected
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(work())


@pytest.mark.parametrize("said", [b"", b"no TLS at all\r\n"])
def test_a_handshake_that_fails_leaves_no_socket_open(said: bytes) -> None:
    """Not even until the garbage collector comes: with a broker that fails for hours, there would be many."""

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def work() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        async with server:
            settings = Mqtt(host="127.0.0.1", port=server.sockets[0].getsockname()[1], tls=Tls())
            handlers = mqtt.Handlers(lambda *_: None, lambda *_: None, lambda: None)
            tls, opened = sessions.tls_context(settings.tls), []
            for _ in range(8):
                assert isinstance(await mqtt.connect(settings, tls, None, handlers), mqtt.Disconnected)
                opened.append(_open_files())
            assert opened[-1] - opened[0] < 4, opened

    gc.collect()
    gc.disable()
    try:
        asyncio.run(work())
    finally:
        gc.enable()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_polls_that_leave_the_loop_no_time_are_told_of_all_the_same(
    broker: Mosquitto, observer: Observer, qos: int
) -> None:
    """More is told than may be sent without an acknowledgement, though the loop turns but once."""
    enough = 5 * mqtt.WINDOW_QOS_0

    async def work() -> None:
        bridge = Bridge(_plan(_NORTH, _SOUTH, form="entity"), NOW)
        settings = Mqtt(host=broker.host, port=broker.port, client_id="me", qos=qos)
        session = Session(settings, bridge, _Log(), lambda: 0.0)
        running = asyncio.create_task(session.run())
        await _until(lambda: session.connected)
        before, until = session.published, time.monotonic() + 10
        for number in itertools.count():
            bridge.take("e1" if number % 2 else "e2", reading(plug_reading(power=number / 10)), at(number), session)
            if session.published - before > enough or time.monotonic() > until:
                break
        assert session.published - before > enough
        last = _whole(bridge)
        await _until(lambda: observer.retained == last)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(work())
