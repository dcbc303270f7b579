"""Determines the measurements of a simulated plug, as a pure function of the seed, the plug and the elapsed time.

The simulation has no steps. Time is divided into long slots, and the events of a slot are drawn from the seed, the plug
and the number of the slot. Therefore every moment costs the same, and plugs are independent of each other.

- In most slots of a plug a vehicle arrives, charges and leaves: idle, connected, starting, recently_started_charging,
  charging, stopped, connected, idle. An error interrupts some sessions.
- The vehicle draws current on one, two or three phases, up to its own maximum and slightly below `dyn_current_limit`.
  The limit is between 6 A, the minimum that a station can offer (IEC 61851-1), and 32 A. Near the end of the session
  the current decreases.
- In some slots a station is offline, or all stations of a site are cloud_offline. The cloud then keeps the last time
  and values that it received, and only the status changes.
- The device measures every TICK seconds, all plugs of a station at the same time. Values do not change between ticks.

Times are in simulated seconds since the start of the simulation and may be negative.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property

from evse_mqtt_bridge.simulator.seeded_random import SeededRandom

__all__ = ["LIMIT_RANGE", "SITE_SIZE", "TICK", "VOLTAGE", "ConstantPlug", "Measurement", "PlugScenario"]

VOLTAGE = 230
"""Volts per phase; the power of a plug is this times the sum of its currents."""

TICK = 5.0
"""Seconds between two measurements."""

LIMIT_RANGE = (6, 32)
"""Lowest and highest limit that the load management sets, in amperes."""

SITE_SIZE = 4
"""Stations that share a CLEMAP device, its load management and its connection to the cloud."""

_SESSION_SLOT = 9600.0  # seconds; longer than any session, so that each session ends in its own slot
_OUTAGE_SLOT = 6 * 3600.0  # seconds
_OUTAGE_MARGIN = 1800.0  # seconds; longer than any outage, so that the time before one is in at most one other outage
_OUTAGE_SHARE = 0.35  # of the slots
_SESSION_SHARE = 0.9  # of the slots
_ERROR_SHARE = 0.15  # of the sessions

_VEHICLES = (  # cumulative share, number of phases, maximum current per phase in amperes
    (0.45, 3, 16.0),
    (0.60, 3, 32.0),
    (0.80, 1, 32.0),
    (0.90, 1, 16.0),
    (1.00, 2, 16.0),
)

_STATUSES = (  # before and after each of the `times` of a session
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
    """One measurement of a plug.

    Attributes:
        at: Time in simulated seconds.
        status: The vendor's status.
        currents: Amperes per phase.
        limit: `dyn_current_limit` in amperes.
    """

    at: float
    status: str
    currents: tuple[float, float, float]
    limit: int

    @property
    def power(self) -> float:
        """The power in watts."""
        return round(VOLTAGE * sum(self.currents), 1)


@dataclass(frozen=True, slots=True)
class _Session:
    """A vehicle at a plug, from arrival to departure.

    Attributes:
        times: Start of connected, starting, recently_started_charging, charging, the final decrease of the current,
            stopped, connected and idle.
        phases: Indices of the phases in use.
        max_current: The vehicle's maximum current per phase in amperes.
        margin: Amperes by which the vehicle stays below its maximum and the limit.
        error: Start and end of an error, if there is one.
    """

    times: tuple[float, ...]
    phases: tuple[int, ...]
    max_current: float
    margin: float
    error: tuple[float, float] | None

    def status(self, moment: float) -> str:
        """Return the status at a time within the slot of the session."""
        status = _STATUSES[bisect_right(self.times, moment)]
        if self.error is not None and self.error[0] <= moment < self.error[1]:
            return "error"
        return status

    def demand(self, moment: float) -> float:
        """Return the current per phase that the vehicle would draw without a limit, in amperes."""
        _, _, ramp_start, ramp_end, taper_start, taper_end, _, _ = self.times
        lowest, _ = LIMIT_RANGE
        if moment < ramp_end:
            return lowest + (self.max_current - lowest) * (moment - ramp_start) / (ramp_end - ramp_start)
        if moment < taper_start:
            return self.max_current
        return self.max_current * (1 - 0.9 * (moment - taper_start) / (taper_end - taper_start))


@dataclass(frozen=True, slots=True)
class _Outage:
    start: float
    end: float
    status: str


@dataclass(frozen=True)
class PlugScenario:
    """A plug with charging sessions and outages; the same seed and position give the same measurements.

    Attributes:
        seed: Any integer.
        station: Number of the station, from 0.
        plug: Number of the plug in its station, from 0.
    """

    seed: int
    station: int
    plug: int

    @cached_property
    def _site(self) -> int:
        return self.station // SITE_SIZE

    # The strings in the keys are part of the simulation: other strings give other measurements.

    @cached_property
    def _session_offset(self) -> float:
        return _SESSION_SLOT * SeededRandom(self.seed, "visits", self.station, self.plug).random()

    @cached_property
    def _offline_offset(self) -> float:
        return _OUTAGE_SLOT * SeededRandom(self.seed, "offline", self.station).random()

    @cached_property
    def _cloud_offline_offset(self) -> float:
        return _OUTAGE_SLOT * SeededRandom(self.seed, "cloud_offline", self._site).random()

    @cached_property
    def _load_offsets(self) -> tuple[float, float]:
        """Offsets of the slow and the fast cycle of the site's other load, 0 to 1."""
        seeded_random = SeededRandom(self.seed, "load", self._site)
        return seeded_random.random(), seeded_random.random()

    def at(self, elapsed: float) -> Measurement:
        """Return the last measurement that the cloud has received at a time, with the status at that time."""
        moment = _last_tick(elapsed)
        outage = self._outage(moment)
        status = outage.status if outage else None
        while outage is not None:
            moment = (math.ceil(outage.start / TICK) - 1) * TICK  # the last tick before the outage
            outage = self._outage(moment)
        measurement = self._measure(moment)
        return replace(measurement, status=status) if status else measurement

    def energy_between(self, start: int, end: int) -> float:
        """Return the true energy in Wh between two whole seconds, whether or not the cloud receives measurements.

        The power of each second is the one in its middle.
        """
        return sum(self._measure(second + 0.5).power for second in range(start, end)) / 3600

    def _measure(self, moment: float) -> Measurement:
        """Return the measurement of the device, whether or not the cloud receives it."""
        lowest, _ = LIMIT_RANGE
        session = self._session(moment)
        status = session.status(moment) if session else "idle"
        if session is None or status not in ("starting", "recently_started_charging", "charging"):
            return Measurement(moment, status, (0, 0, 0), lowest)
        limit = self._limit(moment)
        if status == "starting":
            return Measurement(moment, status, (0, 0, 0), limit)
        maximum = min(session.demand(moment), limit) - session.margin
        l1, l2, l3 = (self._current(maximum, moment, phase) if phase in session.phases else 0 for phase in range(3))
        return Measurement(moment, status, (l1, l2, l3), limit)

    def _current(self, maximum: float, moment: float, phase: int) -> float:
        """Return a current slightly below `maximum` that varies slowly and differs by phase, rounded down to 0.1 A."""
        wave = 0.15 * (1 + math.sin(moment / 97 + 2.1 * phase + self.plug))
        return math.floor(10 * max(maximum - wave, 0.1)) / 10

    def _limit(self, moment: float) -> int:
        """Return the current that the site's other load leaves, in amperes; it changes every two minutes."""
        slow, fast = self._load_offsets
        block = moment // 120 * 120
        wave = math.sin(math.tau * (block / 5400 + slow)) + 0.6 * math.sin(math.tau * (block / 1700 + fast))
        lowest, highest = LIMIT_RANGE
        return min(max(round(18 + 11 * wave), lowest), highest)

    def _session(self, moment: float) -> _Session | None:
        """Return the session in the slot that contains `moment`; `None` if no vehicle arrives in that slot."""
        number, slot_start = _slot(moment, _SESSION_SLOT, self._session_offset)
        seeded_random = SeededRandom(self.seed, "visit", self.station, self.plug, number)
        if seeded_random.random() >= _SESSION_SHARE:
            return None
        arrival = slot_start + seeded_random.uniform(60, 1500)
        starting = arrival + seeded_random.uniform(20, 240)
        ramp_start = starting + seeded_random.uniform(10, 30)
        ramp_end = ramp_start + seeded_random.uniform(30, 90)
        taper_start = ramp_end + seeded_random.uniform(2400, 5700)
        taper_end = taper_start + seeded_random.uniform(300, 1200)
        stop_end = taper_end + seeded_random.uniform(60, 300)
        departure = stop_end + seeded_random.uniform(60, 480)
        kind = seeded_random.random()
        phase_count, max_current = next((phases, current) for share, phases, current in _VEHICLES if kind < share)
        # Installers rotate the phases from plug to plug, so that single-phase vehicles do not all load the same phase.
        phases = tuple((self.station + self.plug + n) % 3 for n in range(phase_count))
        margin = seeded_random.uniform(0, 1.2)
        error = None
        if seeded_random.random() < _ERROR_SHARE:
            error_start = ramp_end + seeded_random.random() * (taper_start - ramp_end)
            error = (error_start, error_start + seeded_random.uniform(60, 300))
        times = (arrival, starting, ramp_start, ramp_end, taper_start, taper_end, stop_end, departure)
        return _Session(times, phases, max_current, margin, error)

    def _outage(self, moment: float) -> _Outage | None:
        """Return the outage that keeps the cloud from receiving measurements; that of the site hides the station's."""
        return self._find_outage("cloud_offline", self._site, self._cloud_offline_offset, moment) or self._find_outage(
            "offline", self.station, self._offline_offset, moment
        )

    def _find_outage(self, status: str, position: int, offset: float, moment: float) -> _Outage | None:
        number, slot_start = _slot(moment, _OUTAGE_SLOT, offset)
        seeded_random = SeededRandom(self.seed, status, position, number)
        if seeded_random.random() >= _OUTAGE_SHARE:
            return None
        start = slot_start + seeded_random.uniform(_OUTAGE_MARGIN, _OUTAGE_SLOT - 2 * _OUTAGE_MARGIN)
        end = start + seeded_random.uniform(120, 1500)
        return _Outage(start, end, status) if start <= moment < end else None


@dataclass(frozen=True, slots=True)
class ConstantPlug:
    """A plug whose values never change."""

    status: str
    currents: tuple[float, float, float]
    limit: int

    def at(self, elapsed: float) -> Measurement:
        """Return the last measurement at a time."""
        return Measurement(_last_tick(elapsed), self.status, self.currents, self.limit)


def _last_tick(moment: float) -> float:
    return moment // TICK * TICK


def _slot(moment: float, length: float, offset: float) -> tuple[int, float]:
    """Return the number and the start of the slot that contains `moment`; slot 0 starts at `offset`."""
    number = math.floor((moment - offset) / length)
    return number, number * length + offset
