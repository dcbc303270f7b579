"""Causes faults, waits until the broker retains the topics that the model expects, and counts the differences."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from benchmarks.soak.changes import CHANGES, other_values, with_new_tokens
from benchmarks.soak.environment import Environment, SoakError
from benchmarks.soak.faults import CLOUD_FAULTS, LIMITED_BROKER, nothing
from benchmarks.soak.kinds import BIRTH, HALF_HANGING, INVALID, LASTING, PASSING, Kinds
from benchmarks.soak.model import Difference, Model, after_poll, differences, expected_topics
from benchmarks.soak.restarts import RESTARTS
from benchmarks.soak.shortages import NO_DESCRIPTOR, UNREAD_LOG
from benchmarks.soak.station_faults import NO_RESPONSE, STATION_FAULTS
from benchmarks.soak.strangers import is_strange

__all__ = ["PATIENCE", "SoakRun", "WrongTopicsError"]

PATIENCE = 200.0
"""Seconds until the topics must be right: a minute until the bridge may reconnect, plus a backoff that has grown."""

_PAUSE = 0.5
_STABLE_AFTER = 1.6
"""Seconds after which right topics are checked again: longer than a station's interval."""


class WrongTopicsError(SoakError):
    """The broker does not retain the topics that the model expects within the time limit."""

    def __init__(self, differences: Sequence[Difference], events: Sequence[str]) -> None:
        super().__init__(f"{len(differences)} topics are wrong after: {', '.join(events)}", *differences)


@dataclass(slots=True)
class SoakRun:
    """One run of the soak test.

    Attributes:
        environment: Cloud, broker and bridge.
        model: The model, which determines the expected topics.
        kinds: The kinds of faults and changes.
        events: Number of faults and changes so far, by name.
        checks: Number of checks of the retained topics.
        topics: Number of topics at the last check.
        slowest: Longest time in seconds until the topics were right.
    """

    environment: Environment
    model: Model
    kinds: Kinds
    events: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    topics: int = 0
    slowest: float = 0.0
    _is_limited: bool = False

    @property
    def _rng(self) -> Random:
        return self.kinds.rng

    def start(self) -> None:
        """Check the topics while all stations answer."""
        self.environment.set_answers(self.model, {})
        self._verify(["the start"])

    def restart(self, chance: float) -> bool:
        """Restart the bridge with a probability of `chance` and check the topics; return whether it happened."""
        name = self.kinds.draw(RESTARTS, chance)
        if name:
            self.model = RESTARTS[name](self.environment, self._rng, self.model)
            self.events[name] += 1
            self._verify([name])
        return bool(name)

    def step(self) -> None:
        """Cause faults and changes, check the topics, end all faults, and check again."""
        events: list[str] = []
        end_lasting = self._begin(LASTING, events, 0.5)
        self._is_limited = not LIMITED_BROKER.keys().isdisjoint(events)
        end_passing = nothing if self._is_limited else self._begin(PASSING, events, 0.6)
        # Not both faults of the cloud and of stations: the result would depend on which is noticed first.
        end_cloud_fault = self._begin(CLOUD_FAULTS, events, 0.2)
        is_unreachable = not CLOUD_FAULTS.keys().isdisjoint(events)
        faulty = {} if is_unreachable else self._choose_faulty_stations(events)
        self._change_values(faulty, unreachable=is_unreachable)
        self._reconfigure(events, faulty, unreachable=is_unreachable)
        end_passing()
        if self.kinds.happens(BIRTH, 0.2):
            events.append(BIRTH)
            self.environment.publish_birth()
        self.events.update(events)
        self._verify(events)
        end_lasting()
        self._is_limited = False
        end_cloud_fault()
        self._repair(faulty)
        self._verify(["end of all faults"])

    def _begin(
        self, table: Mapping[str, Callable[[Environment, Random], Callable[[], None]]], events: list[str], chance: float
    ) -> Callable[[], None]:
        """Begin a fault of the table with a probability of `chance`; return the function that ends it."""
        name = self.kinds.draw(table, chance)
        if not name:
            return nothing
        events.append(name)
        return table[name](self.environment, self._rng)

    def _choose_faulty_stations(self, events: list[str]) -> dict[str, str]:
        """Choose some stations and return the name of the fault of each."""
        uuids = list(self.model.stations)
        if self.kinds.happens(HALF_HANGING, 0.1):
            events.append(HALF_HANGING)
            return dict.fromkeys(self._rng.sample(uuids, len(uuids) // 2), NO_RESPONSE)
        faulty = {}
        for uuid in self._rng.sample(uuids, self._rng.randint(0, 6)):
            if name := self.kinds.draw(STATION_FAULTS):
                events.append(name)
                faulty[uuid] = name
        return faulty

    def _change_values(self, faulty: Mapping[str, str], *, unreachable: bool) -> None:
        """Change the values of some stations; faulty stations do not send theirs."""
        stations = {
            uuid: other_values(self._rng, station) if self._rng.random() < 0.4 else station
            for uuid, station in self.model.stations.items()
        }
        self.model = replace(self.model, stations=stations)
        self._set_reasons(faulty, unreachable=unreachable)
        self.environment.set_answers(self.model, {uuid: STATION_FAULTS[name] for uuid, name in faulty.items()})

    def _reconfigure(self, events: list[str], faulty: Mapping[str, str], *, unreachable: bool) -> None:
        if NO_DESCRIPTOR in events:  # the bridge cannot read a file, so it rejects every reload
            return
        if UNREAD_LOG not in events and self.kinds.happens(INVALID, 0.15):  # its effect is a line of the log
            events.append(INVALID)
            self.environment.reload_invalid_file()
        if self._rng.random() < 0.5 and (names := self.kinds.sample(CHANGES, 3)):
            for name in names:
                events.append(name)
                self.model = CHANGES[name](self._rng, self.model)
            self._set_reasons(faulty, unreachable=unreachable)
            self.environment.set_answers(self.model, {uuid: STATION_FAULTS[name] for uuid, name in faulty.items()})
            self.environment.reload(self.model)

    def _set_reasons(self, faulty: Mapping[str, str], *, unreachable: bool) -> None:
        otherwise = "unreachable" if unreachable else "online"
        stations = {
            uuid: replace(station, reason=STATION_FAULTS[faulty[uuid]].reason if uuid in faulty else otherwise)
            for uuid, station in self.model.stations.items()
        }
        self.model = replace(self.model, stations=stations)

    def _repair(self, faulty: Mapping[str, str]) -> None:
        """End all faults of stations; rejected stations get another token, since otherwise they wait for minutes."""
        self._set_reasons({}, unreachable=False)
        rejected = {uuid: name for uuid, name in faulty.items() if STATION_FAULTS[name].rejected}
        if rejected:
            self.model = with_new_tokens(self._rng, self.model, rejected)
        self.environment.set_answers(self.model, {})
        if rejected:
            self.environment.reload(self.model)

    def _verify(self, events: Sequence[str]) -> None:
        """Wait until the retained topics are right, and check them again a little later.

        Raises:
            WrongTopicsError: The topics are not right within PATIENCE seconds, or the bridge has exited.
        """
        self.model = after_poll(self.model)
        began = time.monotonic()
        while found := self._differences():
            if time.monotonic() - began > PATIENCE or not self.environment.bridge.running:
                raise WrongTopicsError(found, events)
            time.sleep(_PAUSE)
        seconds = time.monotonic() - began
        time.sleep(_STABLE_AFTER)
        if found := self._differences():
            raise WrongTopicsError(found, [*events, "once the topics had been right"])
        self.environment.measure()
        self.checks += 1
        self.topics = len(expected_topics(self.model))
        self.slowest = max(self.slowest, seconds)
        print(f"right after {seconds:5.1f} s: {', '.join(events) or 'only other values'}", flush=True)

    def _differences(self) -> list[Difference]:
        foreign = self.environment.foreign
        found = {
            topic: payload
            for topic, payload in self.environment.retained().items()
            if topic in foreign or not is_strange(topic)
        }
        return differences(self.model, foreign, found, self.environment.overwritten, is_limited=self._is_limited)
