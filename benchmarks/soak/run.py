"""Causes faults, waits until the broker retains the topics that the model expects, and counts the differences."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from benchmarks.soak.changes import CHANGES, other_values, with_new_tokens
from benchmarks.soak.environment import FOREIGN, Environment
from benchmarks.soak.faults import BROKER_FAULTS, CLOUD_FAULTS
from benchmarks.soak.model import Difference, Model, after_poll, differences, expected_topics
from benchmarks.soak.station_faults import STATION_FAULTS

__all__ = ["PATIENCE", "SoakRun", "WrongTopicsError"]

PATIENCE = 200.0
"""Seconds until the topics must be right: a minute until the bridge may reconnect, plus a backoff that has grown."""

_PAUSE = 0.5
_STABLE_AFTER = 1.6
"""Seconds after which right topics are checked again: longer than a station's interval."""


class WrongTopicsError(Exception):
    """The broker does not retain the topics that the model expects within the time limit."""

    def __init__(self, differences: Sequence[Difference], events: Sequence[str]) -> None:
        super().__init__(f"{len(differences)} topics are wrong after: {', '.join(events)}")
        self.differences = differences


@dataclass(slots=True)
class SoakRun:
    """One run of the soak test.

    Attributes:
        environment: Cloud, broker and bridge.
        model: The model, which determines the expected topics.
        rng: Seeded random generator.
        events: Number of faults and changes so far, by name.
        checks: Number of checks of the retained topics.
        topics: Number of topics at the last check.
        slowest: Longest time in seconds until the topics were right.
    """

    environment: Environment
    model: Model
    rng: Random
    events: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    topics: int = 0
    slowest: float = 0.0

    def start(self) -> None:
        """Check the topics while all stations answer."""
        self.environment.set_answers(self.model, {})
        self._verify(["the start"])

    def step(self) -> None:
        """Cause faults and changes, check the topics, end all faults, and check again."""
        events: list[str] = []
        broker = self._draw(BROKER_FAULTS, events, 0.6)
        end = BROKER_FAULTS[broker](self.environment, self.rng) if broker else _nothing
        # Not both faults of the cloud and of stations: the result would depend on which is noticed first.
        cloud = self._draw(CLOUD_FAULTS, events, 0.2)
        end_cloud_fault = CLOUD_FAULTS[cloud](self.environment, self.rng) if cloud else _nothing
        faulty = {} if cloud else self._choose_faulty_stations(events)
        self._change_values(faulty, unreachable=bool(cloud))
        self._reconfigure(events, faulty, unreachable=bool(cloud))
        end()
        if self.rng.random() < 0.2:
            events.append("birth message")
            self.environment.publish_birth(self.model.settings.prefix)
        self.events.update(events)
        self._verify(events)
        end_cloud_fault()
        self._repair(faulty)
        self._verify(["end of all faults"])

    def _choose_faulty_stations(self, events: list[str]) -> dict[str, str]:
        """Choose some stations and return the name of the fault of each."""
        stations = self.rng.sample(list(self.model.stations), self.rng.randint(0, 6))
        return {uuid: self._draw(STATION_FAULTS, events) for uuid in stations}

    def _change_values(self, faulty: Mapping[str, str], *, unreachable: bool) -> None:
        """Change the values of some stations; faulty stations do not send theirs."""
        stations = {
            uuid: other_values(self.rng, station) if self.rng.random() < 0.4 else station
            for uuid, station in self.model.stations.items()
        }
        self.model = replace(self.model, stations=stations)
        self._set_reasons(faulty, unreachable=unreachable)
        self.environment.set_answers(self.model, {uuid: STATION_FAULTS[name] for uuid, name in faulty.items()})

    def _reconfigure(self, events: list[str], faulty: Mapping[str, str], *, unreachable: bool) -> None:
        if self.rng.random() < 0.15:
            events.append("invalid configuration")
            self.environment.reload_invalid_file()
        if self.rng.random() < 0.5:
            for name in self.rng.sample(list(CHANGES), self.rng.randint(1, 3)):
                events.append(name)
                self.model = CHANGES[name](self.rng, self.model)
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
        """End all faults of stations; rejected stations get another token, since otherwise they wait 15 minutes."""
        self._set_reasons({}, unreachable=False)
        rejected = {uuid: name for uuid, name in faulty.items() if STATION_FAULTS[name].rejected}
        if rejected:
            self.model = with_new_tokens(self.rng, self.model, rejected)
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
        self.checks += 1
        self.topics = len(expected_topics(self.model))
        self.slowest = max(self.slowest, seconds)
        print(f"right after {seconds:5.1f} s: {', '.join(events) or 'only other values'}", flush=True)

    def _differences(self) -> list[Difference]:
        return differences(self.model, FOREIGN, self.environment.retained())

    def _draw(self, table: Mapping[str, object], events: list[str], chance: float = 1.0) -> str:
        """Choose a name from the table and add it to the events; with a probability of 1 - `chance`, choose none."""
        if self.rng.random() >= chance:
            return ""
        events.append(self.rng.choice(list(table)))
        return events[-1]


def _nothing() -> None:
    pass
