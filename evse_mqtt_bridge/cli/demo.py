"""`demo`: simulated stations, a broker, the bridge, and a look at what the broker then holds."""

import asyncio
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import click
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from evse_mqtt_bridge.config.schema import Cloud, Config, Http, Mqtt, Polling, StationConfig
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.publishing.topics import PlugPlace, Topics
from evse_mqtt_bridge.service import supervisor as app
from evse_mqtt_bridge.simulator.broker import BrokerKind, EmbeddedBroker, embedded_broker, free_port
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, living_stations
from evse_mqtt_bridge.support.text import clean

__all__ = ["PlugRow", "demo", "plug_rows"]

_REDRAW = 0.5  # seconds
_REPRINT = 5.0  # seconds
_FAREWELL_LIMIT = 1.0  # seconds

_COLOURS = {"charging": "green", "recently_started_charging": "green", "discharging": "green", "error": "red"}


@click.command()
@click.option("--stations", type=click.IntRange(1, 100), default=3, show_default=True, help="How many stations.")
@click.option("--plugs", type=click.IntRange(1, 8), default=2, show_default=True, help="How many plugs each has.")
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 1000),
    default=60,
    show_default=True,
    help="How many simulated seconds pass in one.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed, other vehicles.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=1883,
    show_default=True,
    help="The broker's port; where it is taken, a free one is used.",
)
@click.option(
    "--broker",
    type=click.Choice([kind.value for kind in BrokerKind]),
    default=BrokerKind.AUTO.value,
    show_default=True,
    help="auto: Mosquitto where it is installed, else amqtt.",
)
@click.option("--seconds", type=click.FloatRange(0.1), default=None, help="End by itself after so many seconds.")
def demo(  # noqa: PLR0913  # one argument an option
    *, stations: int, plugs: int, speed: float, seed: int, port: int, broker: str, seconds: float | None
) -> None:
    """Look at it: simulated stations, a broker and the bridge on this machine, nothing to configure.

    Ctrl-C ends all of it. Everything listens on 127.0.0.1 alone and leaves nothing behind.

    \b
    Examples:
      evse-mqtt-bridge demo
      evse-mqtt-bridge demo --stations 20 --speed 300
      evse-mqtt-bridge demo --seconds 30 | cat           plain lines instead of a table
    """
    simulated = living_stations(stations, plugs, seed)
    asyncio.run(_demo(simulated, speed, port, BrokerKind(broker), seconds))


async def _demo(
    stations: tuple[SimulatedStation, ...], speed: float, port: int, kind: BrokerKind, seconds: float | None
) -> None:
    """Everything is started in the order in which it is needed, and ended in the opposite one."""
    controls = app.Controls()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, controls.stop.set)
    if seconds is not None:
        loop.call_later(seconds, controls.stop.set)
    console = Console()
    async with AsyncExitStack() as stack:
        simulation = Simulation(stations, datetime.now(UTC), speed)
        cloud = await stack.enter_async_context(SimulatorServer(simulation))
        broker = await stack.enter_async_context(embedded_broker(free_port(port), kind))
        config = _config(stations, cloud, broker)
        _say_how_to_look(console, cloud, broker, config, wanted_port=port)
        watcher = stack.enter_context(_Watcher(broker, config.mqtt.base_topic))
        names = {station.uuid: station.name for station in stations}
        async with asyncio.TaskGroup() as tasks:
            show = tasks.create_task(_show(console, watcher, names), name="show")
            await _bridge(config, controls)
            await watcher.hears_the_farewell()
            show.cancel()
    console.print(f"ended: bridge ({watcher.bridge}), broker and simulated stations", highlight=False, markup=False)


async def _bridge(config: Config, controls: app.Controls) -> None:
    log = make_logger("warning", stream=sys.stderr)
    await app.run(config, controls, log)


def _config(stations: tuple[SimulatedStation, ...], cloud: SimulatorServer, broker: EmbeddedBroker) -> Config:
    return Config(
        mqtt=Mqtt(host=broker.host, port=broker.port, protocol=broker.protocol, client_id="evse-mqtt-bridge-demo"),
        cloud=Cloud(base_url=cloud.url),
        polling=Polling(interval=1, heartbeat=5),
        http=Http(port=free_port(Http().port)),
        stations=tuple(
            StationConfig(
                edge_device_id=station.edge_device_id,
                uuid=station.uuid,
                token=SecretStr(station.token),
                name=station.name,
            )
            for station in stations
        ),
    )


def _say_how_to_look(
    console: Console, cloud: SimulatorServer, broker: EmbeddedBroker, config: Config, *, wanted_port: int
) -> None:
    place = f"{broker.host}, port {broker.port}"
    taken = f" (port {wanted_port} is taken)" if broker.port != wanted_port else ""
    version = "" if broker.protocol == "5" else f", MQTT {broker.protocol} only"
    lines = (
        f"cloud    {cloud.url}, {len(config.stations)} simulated stations",
        f"broker   {broker.name} on {place}{taken}{version}",
        f"page     http://{config.http.host}:{config.http.port}/",
        f"look     mosquitto_sub -h {broker.host} -p {broker.port} -t '{config.mqtt.base_topic}/#' -v",
        f"Node-RED          an mqtt-broker node with server {place}",
        f"Home Assistant    add the MQTT integration with broker {place}; it then finds the plugs by itself",
        "Both without a user name, on this machine. Ctrl-C ends it.",
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print()


# What the broker holds


class _Watcher:
    """A client of the broker like any other, which knows what it is told there."""

    def __init__(self, broker: EmbeddedBroker, base_topic: str) -> None:
        self.layout = Topics(base_topic)
        self._topics: dict[str, str] = {}
        self._farewell = threading.Event()
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
    def topics(self) -> dict[str, str]:
        """Topic -> payload, as of this moment."""
        return self._topics.copy()  # paho's thread goes on writing

    @property
    def bridge(self) -> str:
        """The bridge's availability, in its own word."""
        return clean(self._topics.get(self.layout.availability, "starting"))

    async def hears_the_farewell(self) -> None:
        """Wait for the bridge's `offline`, which is no use to anybody once the broker has ended."""
        await asyncio.to_thread(self._farewell.wait, _FAREWELL_LIMIT)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        client.subscribe(self.layout.base + "/#")

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._topics[message.topic] = message.payload.decode(errors="replace")
        if self.bridge == "offline":
            self._farewell.set()


@dataclass(frozen=True, slots=True)
class PlugRow:
    """A plug as its topics tell it; empty where they do not."""

    station: str
    plug: str
    status: str = ""
    power: str = ""
    currents: str = ""
    limit: str = ""
    available: str = ""


def plug_rows(layout: Topics, topics: Mapping[str, str], names: Mapping[str, str]) -> list[PlugRow]:
    """One row per plug, sorted by the names of station and plug; `names` are those of stations, by topic id."""
    plugs: dict[tuple[str, str], dict[str, str]] = {}
    for topic, payload in topics.items():
        place = layout.read(topic)
        if isinstance(place, PlugPlace):
            plugs.setdefault((place.station, place.plug), {})[place.field] = clean(payload)
    rows = (
        PlugRow(
            station=names.get(station, station),
            plug=values.get("label", plug),
            status=values.get("status", ""),
            power=_with_unit(values.get("power"), "W"),
            currents=_with_unit(" / ".join(values.get(f"current_l{phase}", "-") for phase in (1, 2, 3)), "A"),
            limit=_with_unit(values.get("dyn_current_limit"), "A"),
            available=_availability(values),
        )
        for (station, plug), values in plugs.items()
    )
    return sorted(rows, key=lambda row: (row.station, row.plug))


def _with_unit(value: str | None, unit: str) -> str:
    return f"{value} {unit}" if value else ""


def _availability(values: Mapping[str, str]) -> str:
    word, reason = values.get("availability", ""), values.get("availability_reason", "")
    return word if reason in ("", word) else f"{word}: {reason}"


# How it is shown


async def _show(console: Console, watcher: _Watcher, names: Mapping[str, str]) -> None:
    if not console.is_terminal:
        while True:
            rows = plug_rows(watcher.layout, watcher.topics, names)
            for row in rows:
                console.print(_line(row), highlight=False, markup=False, soft_wrap=True)
            await asyncio.sleep(_REPRINT if rows else _REDRAW)
    with Live(console=console, auto_refresh=False) as live:

        def redraw() -> None:
            live.update(_table(plug_rows(watcher.layout, watcher.topics, names), watcher), refresh=True)

        try:
            while True:
                redraw()
                await asyncio.sleep(_REDRAW)
        finally:
            redraw()  # the end is to be seen, too


def _line(row: PlugRow) -> str:
    return f"{row.station}, {row.plug}: {row.status}, {row.power}, {row.currents} of {row.limit}, {row.available}"


def _table(rows: list[PlugRow], watcher: _Watcher) -> Table:
    table = Table(title=f"as the broker has it; bridge: {watcher.bridge}", title_justify="left")
    for column in ("Station", "Plug", "Status"):
        table.add_column(column, no_wrap=True)
    for column in ("Power", "L1 / L2 / L3", "Limit"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Available")
    for row in rows:
        table.add_row(
            Text(row.station),
            Text(row.plug),
            Text(row.status, style=_COLOURS.get(row.status, "")),
            Text(row.power),
            Text(row.currents),
            Text(row.limit),
            Text(row.available, style="" if row.available == "online" else "yellow"),
        )
    return table
