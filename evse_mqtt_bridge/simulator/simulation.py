"""Simulated stations: who they are, and what the vendor's API says of each at a time."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import NAMESPACE_URL, uuid5

from evse_mqtt_bridge.simulator.scenario import SITE_SIZE, Life, Measurement, Unchanging

__all__ = ["SimulatedPlug", "SimulatedStation", "Simulation", "example_station", "living_stations"]


@dataclass(frozen=True, slots=True)
class SimulatedPlug:
    """A plug as the vendor's API knows it, and what it goes through."""

    uuid: str
    label: str
    life: Life | Unchanging = field(repr=False)


@dataclass(frozen=True, slots=True)
class SimulatedStation:
    """A station as the vendor's API knows it; the token guards nothing, and says so."""

    edge_device_id: str
    uuid: str
    token: str = field(repr=False)
    name: str
    plugs: tuple[SimulatedPlug, ...]


@dataclass(frozen=True)
class Simulation:
    """Stations and their time: `speed` (above 0) simulated seconds pass per second since `started` (aware)."""

    stations: tuple[SimulatedStation, ...]
    started: datetime
    speed: float = 1.0

    @cached_property
    def _by_path(self) -> dict[tuple[str, str], SimulatedStation]:
        return {(station.edge_device_id, station.uuid): station for station in self.stations}

    def find(self, edge_device_id: str, uuid: str) -> SimulatedStation | None:
        """The station with this path; `None` where there is none, also when the device is another station's."""
        return self._by_path.get((edge_device_id, uuid))

    def answer(self, station: SimulatedStation, now: datetime) -> list[dict[str, object]]:
        """What the API answers for `station` at `now` (aware): an object per plug.

        `time` is the time of day at which the simulated device measured, however fast simulated time passes.
        """
        elapsed = (now - self.started).total_seconds() * self.speed
        return [self._plug_object(station, plug, plug.life.at(elapsed)) for plug in station.plugs]

    def _plug_object(self, station: SimulatedStation, plug: SimulatedPlug, measured: Measurement) -> dict[str, object]:
        time = self.started.astimezone(UTC) + timedelta(seconds=measured.at / self.speed)
        l1, l2, l3 = measured.currents
        return {
            "time": time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
            "plug_uuid": plug.uuid,
            "plug_label": plug.label,
            "evse_uuid": station.uuid,
            "status": measured.status,
            "current_l1": l1,
            "current_l2": l2,
            "current_l3": l3,
            "power": measured.power,
            "dyn_current_limit": measured.limit,
        }


def living_stations(count: int, plugs: int = 2, seed: int = 1) -> tuple[SimulatedStation, ...]:
    """`count` stations with `plugs` plugs each; the same seed gives the same ids, tokens and lives."""
    return tuple(
        SimulatedStation(
            edge_device_id=_identity(seed, "device", number // SITE_SIZE),
            uuid=_identity(seed, "station", number),
            token=f"simulated-token-{seed}-{number + 1}",
            name=f"Simulated station {number + 1}",
            plugs=tuple(
                SimulatedPlug(_identity(seed, "plug", number, n), f"Plug {n + 1}", Life(seed, number, n))
                for n in range(plugs)
            ),
        )
        for number in range(count)
    )


def example_station() -> SimulatedStation:
    """The station of the vendor's published example: its two plugs never change, only their time passes."""
    return SimulatedStation(
        edge_device_id="example-device",
        uuid="25104c56d7f848af830af4300193efb3",
        token="simulated-token-example",  # noqa: S106  # it guards nothing
        name="Published example",
        plugs=(
            SimulatedPlug("6bbf9fd56dc24f9697b078d5d8ccda84", "Plug 1", Unchanging("idle", (0, 0, 0), 6)),
            SimulatedPlug("c99838f9eb5b423d98f8ba33389a255c", "Plug 2", Unchanging("charging", (10.3, 10.3, 10.3), 12)),
        ),
    )


def _identity(*place: object) -> str:
    """32 hex digits, always the same for the same place."""
    return uuid5(NAMESPACE_URL, "evse-mqtt-bridge:simulated:" + ":".join(map(str, place))).hex
