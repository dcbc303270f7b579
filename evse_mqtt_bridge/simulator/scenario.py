"""A plug's life as a closed form: from a seed, its place and the elapsed time to what is measured there.

Nothing is stepped through. Time is cut into long slots, and what happens in one is drawn from the seed, the place and
the slot's number; so any moment costs the same, and each plug lives its own life.

- In most slots of a plug a vehicle comes and leaves again: idle, connected, starting, recently_started_charging,
  charging, stopped, connected, idle. A few charges are interrupted by an error.
- The vehicle draws what it can on its one, two or three phases, below `dyn_current_limit`, up to 32 A; a wallbox offers
  no less than 6 A (IEC 61851-1), so the limit lies between these two. Towards the end the vehicle takes ever less.
- In some slots a station is offline, or all stations of a site are cloud_offline. The cloud then has what it heard
  last: time and values stand still, only the status tells.
- The device measures every TICK seconds, all plugs of a station together; between two ticks nothing moves.

Times are in simulated seconds since the simulation's start, and may be negative.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property

from evse_mqtt_bridge.simulator.seeded_random import SeededRandom

__all__ = ["LIMIT_RANGE", "SITE_SIZE", "TICK", "VOLTAGE", "Life", "Measurement", "Unchanging"]

VOLTAGE = 230
"""V, of each phase; a plug's power is this times the sum of its currents."""

TICK = 5.0
"""Seconds between two measurements."""

LIMIT_RANGE = (6, 32)
"""A; the lowest and the highest that load management allows."""

SITE_SIZE = 4
"""Stations that share a CLEMAP device, its load management and its connection to the cloud."""

_VISIT_SLOT = 9600.0  # seconds, as all of these; longer than any one_shot, so that each ends in its own slot
_OUTAGE_SLOT = 6 * 3600.0
_OUTAGE_MARGIN = 1800.0  # longer than an outage, so that going back before one meets at most one other
_OUTAGE_SHARE = 0.35  # of the slots
_VISIT_SHARE = 0.9  # of the slots
_ERROR_SHARE = 0.15  # of the visits

_VEHICLES = (  # the share of vehicles that are at most this kind, its phases, the A that it can draw on each
    (0.45, 3, 16.0),
    (0.60, 3, 32.0),
    (0.80, 1, 32.0),
    (0.90, 1, 16.0),
    (1.00, 2, 16.0),
)

_STATUSES = (  # in the order of a one_shot's `times`, the first before all of them
    "idle",
    "connected",
    "starting",
    "recently_started_charging",
    "charging",
    "charging",
    "stopped",
    "connected",
    "idle",
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one plug measured `at` a time: its status, the current of each phase and the limit, in A."""

    at: float
    status: str
    currents: tuple[float, float, float]
    limit: int

    @property
    def power(self) -> float:
        """W."""
        return round(VOLTAGE * sum(self.currents), 1)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One vehicle's stay: when each status begins, and what the vehicle takes.

    `times` are those of connected, starting, recently_started_charging, charging, the taper, stopped, connected and
    idle. `phases` are indices, `ability` and `below` (what it keeps below the limit) in A, `error` from and until.
    """

    times: tuple[float, ...]
    phases: tuple[int, ...]
    ability: float
    below: float
    error: tuple[float, float] | None

    def status(self, moment: float) -> str:
        status = _STATUSES[bisect_right(self.times, moment)]
        if self.error is not None and self.error[0] <= moment < self.error[1]:
            return "error"
        return status

    def demand(self, moment: float) -> float:
        """A per phase that the vehicle would take while it charges, were there no limit."""
        _, _, begins, settles, tapers, stops, _, _ = self.times
        lowest, _ = LIMIT_RANGE
        if moment < settles:
            return lowest + (self.ability - lowest) * (moment - begins) / (settles - begins)
        if moment < tapers:
            return self.ability
        return self.ability * (1 - 0.9 * (moment - tapers) / (stops - tapers))


@dataclass(frozen=True, slots=True)
class _Outage:
    start: float
    end: float
    status: str


@dataclass(frozen=True)
class Life:
    """The life of plug number `plug` of station number `station` (both from 0), the same for the same `seed`."""

    seed: int
    station: int
    plug: int

    @cached_property
    def _site(self) -> int:
        return self.station // SITE_SIZE

    @cached_property
    def _visit_shift(self) -> float:
        return _VISIT_SLOT * SeededRandom(self.seed, "visits", self.station, self.plug).roll()

    @cached_property
    def _offline_shift(self) -> float:
        return _OUTAGE_SLOT * SeededRandom(self.seed, "offline", self.station).roll()

    @cached_property
    def _cloud_offline_shift(self) -> float:
        return _OUTAGE_SLOT * SeededRandom(self.seed, "cloud_offline", self._site).roll()

    @cached_property
    def _site_load(self) -> tuple[float, float]:
        """Where in their cycles the slow and the quick load of the site begin, 0 to 1."""
        seeded_random = SeededRandom(self.seed, "load", self._site)
        return seeded_random.roll(), seeded_random.roll()

    def at(self, elapsed: float) -> Measurement:
        """What the cloud knows of the plug at this time."""
        moment = _last_tick(elapsed)
        outage = self._outage(moment)
        status = outage.status if outage else None
        while outage is not None:
            moment = (math.ceil(outage.start / TICK) - 1) * TICK  # the last tick before it
            outage = self._outage(moment)
        measured = self._measure(moment)
        return replace(measured, status=status) if status else measured

    def _measure(self, moment: float) -> Measurement:
        """What the device measures, whether or not the cloud hears of it."""
        lowest, _ = LIMIT_RANGE
        one_shot = self._visit(moment)
        status = one_shot.status(moment) if one_shot else "idle"
        if one_shot is None or status not in ("starting", "recently_started_charging", "charging"):
            return Measurement(moment, status, (0, 0, 0), lowest)
        limit = self._limit(moment)
        if status == "starting":
            return Measurement(moment, status, (0, 0, 0), limit)
        most = min(one_shot.demand(moment), limit) - one_shot.below
        first, second, third = (self._current(most, moment, n) if n in one_shot.phases else 0 for n in range(3))
        return Measurement(moment, status, (first, second, third), limit)

    def _current(self, most: float, moment: float, phase: int) -> float:
        """A, a little below `most`, each phase going its own slow way; rounded down."""
        wave = 0.15 * (1 + math.sin(moment / 97 + 2.1 * phase + self.plug))
        return math.floor(10 * max(most - wave, 0.1)) / 10

    def _limit(self, moment: float) -> int:
        """A; what the site's other load leaves, set anew every two minutes."""
        slow, quick = self._site_load
        block = moment // 120 * 120
        room = math.sin(math.tau * (block / 5400 + slow)) + 0.6 * math.sin(math.tau * (block / 1700 + quick))
        lowest, highest = LIMIT_RANGE
        return min(max(round(18 + 11 * room), lowest), highest)

    def _visit(self, moment: float) -> _Visit | None:
        """The stay in the slot that holds `moment`; `None` where no vehicle comes."""
        number, begin = _slot(moment, _VISIT_SLOT, self._visit_shift)
        seeded_random = SeededRandom(self.seed, "visit", self.station, self.plug, number)
        if seeded_random.roll() >= _VISIT_SHARE:
            return None
        comes = begin + seeded_random.between(60, 1500)
        starts = comes + seeded_random.between(20, 240)
        begins = starts + seeded_random.between(10, 30)
        settles = begins + seeded_random.between(30, 90)
        tapers = settles + seeded_random.between(2400, 5700)
        stops = tapers + seeded_random.between(300, 1200)
        rests = stops + seeded_random.between(60, 300)
        leaves = rests + seeded_random.between(60, 480)
        kind = seeded_random.roll()
        phases, ability = next((phases, ability) for share, phases, ability in _VEHICLES if kind < share)
        # Installers rotate the phases from plug to plug, so that one-phase vehicles do not all load the same one.
        used = tuple((self.station + self.plug + n) % 3 for n in range(phases))
        below = seeded_random.between(0, 1.2)
        error = None
        if seeded_random.roll() < _ERROR_SHARE:
            fails = settles + seeded_random.roll() * (tapers - settles)
            error = (fails, fails + seeded_random.between(60, 300))
        return _Visit((comes, starts, begins, settles, tapers, stops, rests, leaves), used, ability, below, error)

    def _outage(self, moment: float) -> _Outage | None:
        """What keeps the cloud from hearing of the plug; the site's connection is on the way to the station."""
        return self._outage_of("cloud_offline", self._site, self._cloud_offline_shift, moment) or self._outage_of(
            "offline", self.station, self._offline_shift, moment
        )

    def _outage_of(self, status: str, place: int, shift: float, moment: float) -> _Outage | None:
        number, begin = _slot(moment, _OUTAGE_SLOT, shift)
        seeded_random = SeededRandom(self.seed, status, place, number)
        if seeded_random.roll() >= _OUTAGE_SHARE:
            return None
        start = begin + seeded_random.between(_OUTAGE_MARGIN, _OUTAGE_SLOT - 2 * _OUTAGE_MARGIN)
        end = start + seeded_random.between(120, 1500)
        return _Outage(start, end, status) if start <= moment < end else None


@dataclass(frozen=True, slots=True)
class Unchanging:
    """The life of a plug that measures the same for ever."""

    status: str
    currents: tuple[float, float, float]
    limit: int

    def at(self, elapsed: float) -> Measurement:
        """What the cloud knows of the plug at this time."""
        return Measurement(_last_tick(elapsed), self.status, self.currents, self.limit)


def _last_tick(moment: float) -> float:
    """When the last measurement until `moment` was made."""
    return moment // TICK * TICK


def _slot(moment: float, length: float, shift: float) -> tuple[int, float]:
    """The number and the begin of the slot that holds `moment`, where slot 0 begins at `shift`."""
    number = math.floor((moment - shift) / length)
    return number, number * length + shift
