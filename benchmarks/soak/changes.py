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


def first(dice: Random, count: int) -> Truth:
    """So many stations with one to three plugs each."""
    stations = (_station(dice) for _ in range(count))
    return Truth(Settings(), {station.uuid: station for station in stations})


def other_values(dice: Random, station: SoakStation) -> SoakStation:
    """The station a little later: other values, sometimes a plug that went, came, or has a spoilt object."""
    plugs = {uuid: _later(dice, plug) for uuid, plug in station.plugs.items()}
    if len(plugs) > 1 and dice.random() < 0.1:
        del plugs[dice.choice(list(plugs))]
    if len(plugs) < 3 and dice.random() < 0.1:
        plug = _plug(dice)
        plugs[plug.uuid] = plug
    if len(plugs) > 1 and dice.random() < 0.2:
        uuid = dice.choice(list(plugs))
        plugs[uuid] = replace(plugs[uuid], spoilt=True)
    return replace(station, plugs=plugs)


def with_new_tokens(dice: Random, truth: Truth, uuids: Mapping[str, object]) -> Truth:
    """These stations with other tokens, in the cloud and in the configuration."""
    stations = {
        uuid: replace(station, token=_token(dice)) if uuid in uuids else station
        for uuid, station in truth.stations.items()
    }
    return replace(truth, stations=stations)


# Other configurations


def _fewer(dice: Random, truth: Truth) -> Truth:
    gone = dice.sample(list(truth.stations), min(dice.randint(1, 4), len(truth.stations) - _FEWEST))
    return replace(truth, stations={uuid: kept for uuid, kept in truth.stations.items() if uuid not in gone})


def _more(dice: Random, truth: Truth) -> Truth:
    new = [_station(dice) for _ in range(min(dice.randint(1, 4), _MOST - len(truth.stations)))]
    return replace(truth, stations={**truth.stations, **{station.uuid: station for station in new}})


def _other_names(dice: Random, truth: Truth) -> Truth:
    return _some(dice, truth, lambda station: replace(station, name=f"Garage {dice.randint(1, 99)}"))


def _other_aliases(dice: Random, truth: Truth) -> Truth:
    """Aliases move from one station to another, too."""
    free = [f"garage-{number}" for number in range(12)]
    dice.shuffle(free)
    chosen = set(dice.sample(list(truth.stations), 6))
    taken = {station.alias for station in truth.stations.values() if station.uuid not in chosen}
    names = (name for name in free if name not in taken)
    stations = {
        uuid: replace(station, alias=dice.choice(["", next(names)])) if uuid in chosen else station
        for uuid, station in truth.stations.items()
    }
    return replace(truth, stations=stations)


def _other_plug_aliases(dice: Random, truth: Truth) -> Truth:
    def change(station: SoakStation) -> SoakStation:
        names = dice.sample(["left", "right", "middle", "north"], len(station.plugs))
        aliases = {uuid: name for uuid, name in zip(station.plugs, names, strict=True) if dice.random() < 0.6}
        return replace(station, plug_aliases=aliases)

    return _some(dice, truth, change)


def _other_tokens(dice: Random, truth: Truth) -> Truth:
    return with_new_tokens(dice, truth, dict.fromkeys(dice.sample(list(truth.stations), 3)))


def _other_form(_dice: Random, truth: Truth) -> Truth:
    return replace(
        truth, settings=replace(truth.settings, form="device" if truth.settings.form == "entity" else "entity")
    )


def _other_base(dice: Random, truth: Truth) -> Truth:
    return replace(truth, settings=replace(truth.settings, base=dice.choice(["evse", "site/evse", "Ladepark"])))


def _other_prefix(dice: Random, truth: Truth) -> Truth:
    return replace(
        truth, settings=replace(truth.settings, prefix=dice.choice(["homeassistant", "ha", "home/discovery"]))
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


def _some(dice: Random, truth: Truth, change: Callable[[SoakStation], SoakStation]) -> Truth:
    chosen = {uuid: change(truth.stations[uuid]) for uuid in dice.sample(list(truth.stations), 4)}
    return replace(truth, stations={**truth.stations, **chosen})


# Dice


def _station(dice: Random) -> SoakStation:
    plugs = [_plug(dice) for _ in range(dice.randint(1, 3))]
    uuid = _uuid(dice)
    return SoakStation(uuid, f"Station {uuid[:4]}", "", _token(dice), {}, {plug.uuid: plug for plug in plugs})


def _plug(dice: Random) -> Plug:
    return _later(dice, Plug(_uuid(dice), "", "idle", (), _time(_BEGAN)))


def _later(dice: Random, plug: Plug) -> Plug:
    numbers = tuple(_number(dice) for _ in range(5))
    time = datetime.fromisoformat(plug.time) + timedelta(milliseconds=dice.randint(1, 100_000))
    label = dice.choice(_LABELS) if not plug.label or dice.random() < 0.1 else plug.label
    return Plug(plug.uuid, label, dice.choice(STATUSES), numbers, _time(time))


def _number(dice: Random) -> float | None:
    return dice.choice([0.0, 7107.0, 1e-3, -2300.0, round(dice.uniform(0, 22_000), dice.randint(0, 3)), None])


def _time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(dice: Random) -> str:
    return f"{dice.getrandbits(128):032x}"


def _token(dice: Random) -> str:
    return f"{dice.getrandbits(128):032x}"
