"""Simulated stations and the responses of the vendor's API for them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import NAMESPACE_URL, uuid5

from evse_mqtt_bridge.simulator.scenario import SITE_SIZE, ConstantPlug, Measurement, PlugScenario

__all__ = ["SimulatedPlug", "SimulatedStation", "Simulation", "example_station", "generate_stations"]


@dataclass(frozen=True, slots=True)
class SimulatedPlug:
    """A plug in the vendor's API, with the scenario that gives its measurements."""

    uuid: str
    label: str
    scenario: PlugScenario | ConstantPlug = field(repr=False)


@dataclass(frozen=True, slots=True)
class SimulatedStation:
    """A station in the vendor's API.

    Attributes:
        edge_device_id: The device that the station is connected to.
        uuid: 32 hexadecimal digits.
        token: The token of the station; it is not a secret, and its text shows that.
        name: The name in configurations and log lines.
        plugs: The plugs in the order of the API.
    """

    edge_device_id: str
    uuid: str
    token: str = field(repr=False)
    name: str
    plugs: tuple[SimulatedPlug, ...]


@dataclass(frozen=True)
class Simulation:
    """Stations and their time.

    Attributes:
        stations: All stations.
        started: The start of the simulation, with a time zone.
        speed: Simulated seconds per second, above 0.
    """

    stations: tuple[SimulatedStation, ...]
    started: datetime
    speed: float = 1.0

    @cached_property
    def _by_path(self) -> dict[tuple[str, str], SimulatedStation]:
        return {(station.edge_device_id, station.uuid): station for station in self.stations}

    def find(self, edge_device_id: str, uuid: str) -> SimulatedStation | None:
        """Return the station with this path; `None` if there is none, or if it belongs to another device."""
        return self._by_path.get((edge_device_id, uuid))

    def response(self, station: SimulatedStation, now: datetime) -> list[dict[str, object]]:
        """Return the response for `station` at `now` (with a time zone): one object per plug.

        `time` in the response is real time of the simulated measurement, whatever the speed.
        """
        elapsed = (now - self.started).total_seconds() * self.speed
        return [self._plug_object(station, plug, plug.scenario.at(elapsed)) for plug in station.plugs]

    def _plug_object(
        self, station: SimulatedStation, plug: SimulatedPlug, measurement: Measurement
    ) -> dict[str, object]:
        time = self.started.astimezone(UTC) + timedelta(seconds=measurement.at / self.speed)
        l1, l2, l3 = measurement.currents
        return {
            "time": time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
            "plug_uuid": plug.uuid,
            "plug_label": plug.label,
            "evse_uuid": station.uuid,
            "status": measurement.status,
            "current_l1": l1,
            "current_l2": l2,
            "current_l3": l3,
            "power": measurement.power,
            "dyn_current_limit": measurement.limit,
        }


def generate_stations(count: int, plugs: int = 2, seed: int = 1) -> tuple[SimulatedStation, ...]:
    """Return `count` stations with `plugs` plugs each; the same seed gives the same ids, tokens and measurements."""
    return tuple(
        SimulatedStation(
            edge_device_id=_hex_id(seed, "device", number // SITE_SIZE),
            uuid=_hex_id(seed, "station", number),
            token=f"simulated-token-{seed}-{number + 1}",
            name=f"Simulated station {number + 1}",
            plugs=tuple(
                SimulatedPlug(_hex_id(seed, "plug", number, n), f"Plug {n + 1}", PlugScenario(seed, number, n))
                for n in range(plugs)
            ),
        )
        for number in range(count)
    )


def example_station() -> SimulatedStation:
    """Return the station of the vendor's published example; its values never change, only the times do."""
    return SimulatedStation(
        edge_device_id="example-device",
        uuid="25104c56d7f848af830af4300193efb3",
        token="simulated-token-example",  # noqa: S106  # not a secret
        name="Published example",
        plugs=(
            SimulatedPlug("6bbf9fd56dc24f9697b078d5d8ccda84", "Plug 1", ConstantPlug("idle", (0, 0, 0), 6)),
            SimulatedPlug(
                "c99838f9eb5b423d98f8ba33389a255c", "Plug 2", ConstantPlug("charging", (10.3, 10.3, 10.3), 12)
            ),
        ),
    )


def _hex_id(*key: object) -> str:
    """Return 32 hexadecimal digits that depend on the key only."""
    return uuid5(NAMESPACE_URL, "evse-mqtt-bridge:simulated:" + ":".join(map(str, key))).hex
