"""Runs simulated stations, a broker and the bridge, and shows the retained topics."""

import asyncio
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from evse_mqtt_bridge.cli.common.console import stdout_console
from evse_mqtt_bridge.cli.common.render import fit_height
from evse_mqtt_bridge.cli.common.topic_rows import TopicRow, topic_rows, topic_table
from evse_mqtt_bridge.config.schema import Cloud, Config, History, Http, Mqtt, Polling, StationConfig
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.service import supervisor
from evse_mqtt_bridge.simulator.broker import BrokerKind, EmbeddedBroker, embedded_broker, free_port
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, generate_stations
from evse_mqtt_bridge.support.text import clean

__all__ = ["run_demo"]

_REFRESH = 0.5  # seconds
_PRINT_INTERVAL = 5.0  # seconds
_OFFLINE_TIMEOUT = 1.0  # seconds


def run_demo(  # noqa: PLR0913  # one argument per option
    *, stations: int, plugs: int, seed: int, speed: float, port: int, broker: str, seconds: float | None
) -> None:
    """Run the demo until SIGINT, SIGTERM or SIGHUP.

    Args:
        stations: Number of stations.
        plugs: Plugs per station.
        seed: Seed of the simulation.
        speed: Simulated seconds per second.
        port: Port of the broker, 1 to 65535; if it is in use, a free one is selected.
        broker: A value of `BrokerKind`.
        seconds: Time after which the demo stops by itself; `None`: never.

    Raises:
        UnavailableError: No broker is installed, or it does not start.
    """
    simulated = generate_stations(stations, plugs, seed)
    asyncio.run(_run(simulated, speed, port, BrokerKind(broker), seconds))


async def _run(
    stations: tuple[SimulatedStation, ...], speed: float, port: int, kind: BrokerKind, seconds: float | None
) -> None:
    """Start cloud, broker, watcher and bridge in this order, and stop them in reverse order."""
    controls = supervisor.Controls()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, controls.stop.set)
    if seconds is not None:
        loop.call_later(seconds, controls.stop.set)
    console = stdout_console()
    async with AsyncExitStack() as stack:
        simulation = Simulation(stations, datetime.now(UTC), speed)
        cloud = await stack.enter_async_context(SimulatorServer(simulation))
        broker = await stack.enter_async_context(embedded_broker(free_port(port), kind))
        folder = stack.enter_context(TemporaryDirectory(prefix="evse-mqtt-bridge-demo-", ignore_cleanup_errors=True))
        config = _config(stations, cloud, broker, folder)
        _print_addresses(console, cloud, broker, config, wanted_port=port)
        watcher = stack.enter_context(_Watcher(broker, config.mqtt.base_topic))
        names = {station.alias: station.name for station in config.stations}
        async with asyncio.TaskGroup() as tasks:
            view = tasks.create_task(_show(console, watcher, names), name="demo-view")
            await supervisor.run(config, controls, make_logger("warning", stream=sys.stderr))
            await watcher.bridge_offline()
            view.cancel()
    console.print(
        f"stopped the bridge ({watcher.availability}), the broker and the simulated stations",
        highlight=False,
        markup=False,
    )


def _config(
    stations: tuple[SimulatedStation, ...], cloud: SimulatorServer, broker: EmbeddedBroker, folder: str
) -> Config:
    """Return the configuration of the bridge, with its history in a folder. Aliases make the topics readable."""
    return Config(
        mqtt=Mqtt(host=broker.host, port=broker.port, protocol=broker.protocol, client_id="evse-mqtt-bridge-demo"),
        cloud=Cloud(base_url=cloud.url),
        polling=Polling(interval=1, heartbeat=5),
        history=History(url=f"sqlite:///{folder}/history.sqlite"),
        http=Http(port=free_port(Http().port)),
        stations=tuple(
            StationConfig(
                edge_device_id=station.edge_device_id,
                uuid=station.uuid,
                token=SecretStr(station.token),
                name=station.name,
                alias=f"station-{number}",
                plugs={plug.uuid: f"plug-{n}" for n, plug in enumerate(station.plugs, 1)},
            )
            for number, station in enumerate(stations, 1)
        ),
    )


def _print_addresses(
    console: Console, cloud: SimulatorServer, broker: EmbeddedBroker, config: Config, *, wanted_port: int
) -> None:
    address = f"{broker.host}, port {broker.port}"
    base = config.mqtt.base_topic
    port_note = f" (port {wanted_port} is in use)" if broker.port != wanted_port else ""
    protocol_note = "" if broker.protocol == "5" else f", MQTT {broker.protocol} only"
    lines = (
        f"cloud           {cloud.url}, {len(config.stations)} simulated stations",
        f"broker          {broker.name} on {address}{port_note}{protocol_note}",
        f"status page     http://{config.http.host}:{config.http.port}/",
        f"topics          mosquitto_sub -h {broker.host} -p {broker.port} -t '{base}/#' -v",
        f"Node-RED        mqtt in node: server {address}, topic {base}/#",
        f"Home Assistant  MQTT integration: broker {address}",
        "Connect from this machine, without a user name. Press Ctrl-C to stop.",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()


class _Watcher:
    """An MQTT client that subscribes to the bridge's topics and keeps their payloads; a context manager."""

    def __init__(self, broker: EmbeddedBroker, base_topic: str) -> None:
        self._layout = Topics(base_topic)
        self._topics: dict[str, str] = {}
        self._offline = threading.Event()
        self._broker = broker
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            protocol=MQTTv5 if broker.protocol == "5" else MQTTv311,
            client_id="demo-watcher",
        )
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def availability(self) -> str:
        """Payload of the bridge's availability topic, or `starting` before the first message."""
        return clean(self._topics.get(self._layout.availability, "starting"))

    def rows(self, names: Mapping[str, str]) -> list[TopicRow]:
        """Return a row per plug; `names` are the names of stations by their level in topics."""
        return topic_rows(self._layout, self._topics.copy(), names)  # paho's thread keeps changing the original

    async def bridge_offline(self) -> None:
        """Wait until the bridge's availability is `offline`, within a time limit, because the broker stops next."""
        await asyncio.to_thread(self._offline.wait, _OFFLINE_TIMEOUT)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        client.subscribe(self._layout.base + "/#")

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._topics[message.topic] = message.payload.decode(errors="replace")
        if self.availability == "offline":
            self._offline.set()


async def _show(console: Console, watcher: _Watcher, names: Mapping[str, str]) -> None:
    """Show the plugs until cancelled: as a live table in a terminal, else as lines that are printed periodically."""
    if not console.is_terminal:
        while True:
            rows = watcher.rows(names)
            for row in rows:
                console.print(_line(row), highlight=False, markup=False, soft_wrap=True)
            await asyncio.sleep(_PRINT_INTERVAL if rows else _REFRESH)
    with Live(console=console, auto_refresh=False) as live:

        def redraw() -> None:
            title = Text(f"retained by the broker; bridge: {watcher.availability}", style="italic")
            lines = fit_height(topic_table(watcher.rows(names), console.width), console.height - 2)
            live.update(Group(title, *(line.text for line in lines)), refresh=True)

        try:
            while True:
                redraw()
                await asyncio.sleep(_REFRESH)
        finally:
            redraw()  # the last view shows everything offline


def _line(row: TopicRow) -> str:
    return f"{row.station}, {row.plug}: {row.status}, {row.power}, {row.currents} of {row.limit}, {row.availability}"
