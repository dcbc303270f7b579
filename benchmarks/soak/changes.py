"""Random changes of the stations' values and of the configuration. Pure, except for the random generator."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from benchmarks.soak.model import STATUSES, Model, Plug, Settings, SoakStation

__all__ = ["CHANGES", "PREFIXES", "initial_model", "other_values", "with_new_tokens"]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_LABELS = (
    "Plug 1",
    "Ladepunkt 2, Süd",
    "a+b/#",
    "two\r\nlines",
    "\x1b[31mred\x1b[0m",
    "{{ states('sensor.secret') }}",
    "x" * 5000,
    '"quoted" \\ and \u202eturned',
    "null\x00byte",
)
PREFIXES = ("homeassistant", "ha", "home/discovery")
"""The discovery prefixes of all configurations."""

_MIN_STATIONS, _MAX_STATIONS = 30, 50


def initial_model(rng: Random, count: int) -> Model:
    """Return a model of `count` stations with one to three plugs each."""
    stations = (_station(rng) for _ in range(count))
    return Model(Settings(), {station.uuid: station for station in stations})


def other_values(rng: Random, station: SoakStation) -> SoakStation:
    """Return the station with other values; sometimes a plug disappears, appears, or has an invalid object."""
    plugs = {uuid: _later(rng, plug) for uuid, plug in station.plugs.items()}
    if len(plugs) > 1 and rng.random() < 0.1:
        del plugs[rng.choice(list(plugs))]
    if len(plugs) < 3 and rng.random() < 0.1:
        plug = _plug(rng)
        plugs[plug.uuid] = plug
    if len(plugs) > 1 and rng.random() < 0.2:
        uuid = rng.choice(list(plugs))
        plugs[uuid] = replace(plugs[uuid], invalid=True)
    return replace(station, plugs=plugs)


def with_new_tokens(rng: Random, model: Model, uuids: Mapping[str, object]) -> Model:
    """Return the model with other tokens for these stations, in the cloud and in the configuration."""
    stations = {
        uuid: replace(station, token=_token(rng)) if uuid in uuids else station
        for uuid, station in model.stations.items()
    }
    return replace(model, stations=stations)


# Other configurations


def _remove_stations(rng: Random, model: Model) -> Model:
    removed = rng.sample(list(model.stations), min(rng.randint(1, 4), len(model.stations) - _MIN_STATIONS))
    return replace(model, stations={uuid: station for uuid, station in model.stations.items() if uuid not in removed})


def _add_stations(rng: Random, model: Model) -> Model:
    new = [_station(rng) for _ in range(min(rng.randint(1, 4), _MAX_STATIONS - len(model.stations)))]
    return replace(model, stations={**model.stations, **{station.uuid: station for station in new}})


def _other_names(rng: Random, model: Model) -> Model:
    return _some(rng, model, lambda station: replace(station, name=f"Garage {rng.randint(1, 99)}"))


def _other_aliases(rng: Random, model: Model) -> Model:
    """Other aliases for some stations, also such as another station had before."""
    free = [f"garage-{number}" for number in range(12)]
    rng.shuffle(free)
    chosen = set(rng.sample(list(model.stations), 6))
    taken = {station.alias for station in model.stations.values() if station.uuid not in chosen}
    names = (name for name in free if name not in taken)
    stations = {
        uuid: replace(station, alias=rng.choice(["", next(names, "")])) if uuid in chosen else station
        for uuid, station in model.stations.items()
    }
    return replace(model, stations=stations)


def _other_plug_aliases(rng: Random, model: Model) -> Model:
    def change(station: SoakStation) -> SoakStation:
        names = rng.sample(["left", "right", "middle", "north"], len(station.plugs))
        aliases = {uuid: name for uuid, name in zip(station.plugs, names, strict=True) if rng.random() < 0.6}
        return replace(station, plug_aliases=aliases)

    return _some(rng, model, change)


def _other_tokens(rng: Random, model: Model) -> Model:
    return with_new_tokens(rng, model, dict.fromkeys(rng.sample(list(model.stations), 3)))


def _other_discovery_form(_rng: Random, model: Model) -> Model:
    return replace(
        model, settings=replace(model.settings, form="device" if model.settings.form == "entity" else "entity")
    )


def _other_base_topic(rng: Random, model: Model) -> Model:
    return replace(model, settings=replace(model.settings, base=rng.choice(["evse", "site/evse", "Ladepark"])))


def _other_discovery_prefix(rng: Random, model: Model) -> Model:
    return replace(model, settings=replace(model.settings, prefix=rng.choice(PREFIXES)))


CHANGES: Mapping[str, Callable[[Random, Model], Model]] = {
    "stations removed": _remove_stations,
    "stations added": _add_stations,
    "other names": _other_names,
    "other aliases": _other_aliases,
    "other plug aliases": _other_plug_aliases,
    "other tokens": _other_tokens,
    "the other form of discovery": _other_discovery_form,
    "another base topic": _other_base_topic,
    "another discovery prefix": _other_discovery_prefix,
}
"""Changes of the configuration that a reload applies, by name."""


def _some(rng: Random, model: Model, change: Callable[[SoakStation], SoakStation]) -> Model:
    chosen = {uuid: change(model.stations[uuid]) for uuid in rng.sample(list(model.stations), 4)}
    return replace(model, stations={**model.stations, **chosen})


# Random values


def _station(rng: Random) -> SoakStation:
    plugs = [_plug(rng) for _ in range(rng.randint(1, 3))]
    uuid = _uuid(rng)
    return SoakStation(uuid, f"Station {uuid[:4]}", "", _token(rng), {}, {plug.uuid: plug for plug in plugs})


def _plug(rng: Random) -> Plug:
    return _later(rng, Plug(_uuid(rng), "", "idle", (), _time(_BEGAN)))


def _later(rng: Random, plug: Plug) -> Plug:
    numbers = tuple(_number(rng) for _ in range(5))
    time = datetime.fromisoformat(plug.time) + timedelta(milliseconds=rng.randint(1, 100_000))
    label = rng.choice(_LABELS) if not plug.label or rng.random() < 0.1 else plug.label
    return Plug(plug.uuid, label, rng.choice(STATUSES), numbers, _time(time))


def _number(rng: Random) -> float | None:
    return rng.choice([0.0, 7107.0, 1e-3, -2300.0, round(rng.uniform(0, 22_000), rng.randint(0, 3)), None])


def _time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(rng: Random) -> str:
    return f"{rng.getrandbits(128):032x}"


def _token(rng: Random) -> str:
    return f"{rng.getrandbits(128):032x}"
