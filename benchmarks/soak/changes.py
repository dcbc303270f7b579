"""What may be different next: what stations have to tell, and what the configuration says. Pure but for the dice."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from benchmarks.soak.truth import STATUSES, Plug, Settings, SoakStation, Truth

__all__ = ["CHANGES", "first", "other_values", "with_new_tokens"]

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
_FEWEST, _MOST = 30, 50


def first(seeded_random: Random, count: int) -> Truth:
    """So many stations with one to three plugs each."""
    stations = (_station(seeded_random) for _ in range(count))
    return Truth(Settings(), {station.uuid: station for station in stations})


def other_values(seeded_random: Random, station: SoakStation) -> SoakStation:
    """The station a little later: other values, sometimes a plug that went, came, or has a spoilt object."""
    plugs = {uuid: _later(seeded_random, plug) for uuid, plug in station.plugs.items()}
    if len(plugs) > 1 and seeded_random.random() < 0.1:
        del plugs[seeded_random.choice(list(plugs))]
    if len(plugs) < 3 and seeded_random.random() < 0.1:
        plug = _plug(seeded_random)
        plugs[plug.uuid] = plug
    if len(plugs) > 1 and seeded_random.random() < 0.2:
        uuid = seeded_random.choice(list(plugs))
        plugs[uuid] = replace(plugs[uuid], spoilt=True)
    return replace(station, plugs=plugs)


def with_new_tokens(seeded_random: Random, truth: Truth, uuids: Mapping[str, object]) -> Truth:
    """These stations with other tokens, in the cloud and in the configuration."""
    stations = {
        uuid: replace(station, token=_token(seeded_random)) if uuid in uuids else station
        for uuid, station in truth.stations.items()
    }
    return replace(truth, stations=stations)


# Other configurations


def _fewer(seeded_random: Random, truth: Truth) -> Truth:
    gone = seeded_random.sample(list(truth.stations), min(seeded_random.randint(1, 4), len(truth.stations) - _FEWEST))
    return replace(truth, stations={uuid: kept for uuid, kept in truth.stations.items() if uuid not in gone})


def _more(seeded_random: Random, truth: Truth) -> Truth:
    new = [_station(seeded_random) for _ in range(min(seeded_random.randint(1, 4), _MOST - len(truth.stations)))]
    return replace(truth, stations={**truth.stations, **{station.uuid: station for station in new}})


def _other_names(seeded_random: Random, truth: Truth) -> Truth:
    return _some(seeded_random, truth, lambda station: replace(station, name=f"Garage {seeded_random.randint(1, 99)}"))


def _other_aliases(seeded_random: Random, truth: Truth) -> Truth:
    """Aliases move from one station to another, too."""
    free = [f"garage-{number}" for number in range(12)]
    seeded_random.shuffle(free)
    chosen = set(seeded_random.sample(list(truth.stations), 6))
    taken = {station.alias for station in truth.stations.values() if station.uuid not in chosen}
    names = (name for name in free if name not in taken)
    stations = {
        uuid: replace(station, alias=seeded_random.choice(["", next(names)])) if uuid in chosen else station
        for uuid, station in truth.stations.items()
    }
    return replace(truth, stations=stations)


def _other_plug_aliases(seeded_random: Random, truth: Truth) -> Truth:
    def change(station: SoakStation) -> SoakStation:
        names = seeded_random.sample(["left", "right", "middle", "north"], len(station.plugs))
        aliases = {uuid: name for uuid, name in zip(station.plugs, names, strict=True) if seeded_random.random() < 0.6}
        return replace(station, plug_aliases=aliases)

    return _some(seeded_random, truth, change)


def _other_tokens(seeded_random: Random, truth: Truth) -> Truth:
    return with_new_tokens(seeded_random, truth, dict.fromkeys(seeded_random.sample(list(truth.stations), 3)))


def _other_form(_dice: Random, truth: Truth) -> Truth:
    return replace(
        truth, settings=replace(truth.settings, form="device" if truth.settings.form == "entity" else "entity")
    )


def _other_base(seeded_random: Random, truth: Truth) -> Truth:
    return replace(
        truth, settings=replace(truth.settings, base=seeded_random.choice(["evse", "site/evse", "Ladepark"]))
    )


def _other_prefix(seeded_random: Random, truth: Truth) -> Truth:
    return replace(
        truth, settings=replace(truth.settings, prefix=seeded_random.choice(["homeassistant", "ha", "home/discovery"]))
    )


CHANGES: Mapping[str, Callable[[Random, Truth], Truth]] = {
    "stations removed": _fewer,
    "stations added": _more,
    "other names": _other_names,
    "other aliases": _other_aliases,
    "other plug aliases": _other_plug_aliases,
    "other tokens": _other_tokens,
    "the other form of discovery": _other_form,
    "another base topic": _other_base,
    "another discovery prefix": _other_prefix,
}
"""What a reload can bring, by what it is called."""


def _some(seeded_random: Random, truth: Truth, change: Callable[[SoakStation], SoakStation]) -> Truth:
    chosen = {uuid: change(truth.stations[uuid]) for uuid in seeded_random.sample(list(truth.stations), 4)}
    return replace(truth, stations={**truth.stations, **chosen})


# SeededRandom


def _station(seeded_random: Random) -> SoakStation:
    plugs = [_plug(seeded_random) for _ in range(seeded_random.randint(1, 3))]
    uuid = _uuid(seeded_random)
    return SoakStation(uuid, f"Station {uuid[:4]}", "", _token(seeded_random), {}, {plug.uuid: plug for plug in plugs})


def _plug(seeded_random: Random) -> Plug:
    return _later(seeded_random, Plug(_uuid(seeded_random), "", "idle", (), _time(_BEGAN)))


def _later(seeded_random: Random, plug: Plug) -> Plug:
    numbers = tuple(_number(seeded_random) for _ in range(5))
    time = datetime.fromisoformat(plug.time) + timedelta(milliseconds=seeded_random.randint(1, 100_000))
    label = seeded_random.choice(_LABELS) if not plug.label or seeded_random.random() < 0.1 else plug.label
    return Plug(plug.uuid, label, seeded_random.choice(STATUSES), numbers, _time(time))


def _number(seeded_random: Random) -> float | None:
    return seeded_random.choice(
        [0.0, 7107.0, 1e-3, -2300.0, round(seeded_random.uniform(0, 22_000), seeded_random.randint(0, 3)), None]
    )


def _time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(seeded_random: Random) -> str:
    return f"{seeded_random.getrandbits(128):032x}"


def _token(seeded_random: Random) -> str:
    return f"{seeded_random.getrandbits(128):032x}"
