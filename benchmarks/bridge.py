"""The bridge under measurement, started as by a user: `evse-mqtt-bridge run`."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.client import ROOT, Client
from benchmarks.cloud import plugs_of, uuid_of
from benchmarks.rig import Rig, Settings
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Bridge", "availability_topics", "environment_of", "retained_topics", "topics_of", "watch_availability"]

_TOPICS = Topics("evse")
_CLIENT_ID = "evse-mqtt-bridge"
_LOCATIONS = (PlainLocation(_TOPICS), DiscoveryLocation("homeassistant", "entity"))


class Bridge(Client):
    """`evse-mqtt-bridge run` for the stations with these numbers; see `Client` for the other arguments.

    Args:
        rig: See `Client`.
        settings: The settings of the bridge.
        stations: The numbers of the stations.
        tree: See `Client`.
        is_counted: See `Client`.
        module: The module that is run as the command.
    """

    def __init__(  # noqa: PLR0913  # most have a default
        self,
        rig: Rig,
        settings: Settings,
        stations: range,
        *,
        tree: Path = ROOT,
        is_counted: bool = False,
        module: str = "evse_mqtt_bridge",
    ) -> None:
        self._settings = settings
        config = rig.write_config(settings, stations)
        command: list[str | Path] = [sys.executable, "-m", module, "run", "--config", config]
        super().__init__(rig, command, environment_of(tree, rig), tree=tree, is_counted=is_counted)

    def reload(self, stations: range) -> None:
        """Reload a configuration with other stations (SIGHUP)."""
        self._rig.write_config(self._settings, stations)
        self.signal(signal.SIGHUP)


def environment_of(tree: Path, rig: Rig) -> dict[str, str]:
    """Return the environment for a command of the bridge in this tree, without settings of the bridge.

    The history is kept in the folder of the rig, so that no measurement finds that of another one.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVSE_MQTT_BRIDGE")}
    return environment | {"PYTHONPATH": str(tree), "STATE_DIRECTORY": str(rig.folder)}


def availability_topics(stations: range) -> frozenset[str]:
    """Return the availability topics of the bridge, these stations and their plugs."""
    topics = {_TOPICS.availability}
    for uuid in map(uuid_of, stations):
        topics.add(_TOPICS.station(uuid, "availability"))
        topics.update(_TOPICS.plug(uuid, plug, "availability") for plug in plugs_of(uuid))
    return frozenset(topics)


def watch_availability(rig: Rig) -> Subscriber:
    """Return a subscriber to every availability topic. The bridge publishes the availability of a plug last."""
    return Subscriber(rig.broker.port, "evse/+/availability", "evse/+/+/availability")


def topics_of(stations: range) -> set[str]:
    """Return every topic that is retained for these stations, including discovery."""
    topics = set(BridgeEntry(_TOPICS, _CLIENT_ID, _LOCATIONS).all_topics())
    for uuid in map(uuid_of, stations):
        plugs = plugs_of(uuid)
        entry = StationEntry(_TOPICS, uuid, uuid, dict(zip(plugs, plugs, strict=True)), {}, _LOCATIONS)
        topics.update(entry.all_topics())
    return topics


def retained_topics(rig: Rig, count: int, timeout: float) -> set[str]:
    """Return every topic that the broker retains, read by a new subscription.

    Args:
        rig: The broker to read from.
        count: Number of topics to wait for.
        timeout: Seconds after which to return with fewer topics.
    """
    topics: set[str] = set()
    with Subscriber(rig.broker.port, "#", on_message=lambda topic, _: topics.add(topic)) as reader:
        with contextlib.suppress(TimeoutError):
            reader.wait(lambda _: len(topics) >= count, timeout, "retained topics")
        time.sleep(1)  # for topics that should not exist
    return topics
