"""Lets faults happen, waits until the broker retains the truth, and counts."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from benchmarks.soak.changes import CHANGES, other_values, with_new_tokens
from benchmarks.soak.faults import BROKER, CLOUD
from benchmarks.soak.troubles import TROUBLES
from benchmarks.soak.truth import Truth, Wrong, learn, retained, wrong
from benchmarks.soak.world import FOREIGN, World

__all__ = ["PATIENCE", "Course", "WrongPictureError"]

PATIENCE = 200.0
"""Seconds that the picture may take: a minute until the bridge may connect again, and a backoff that has grown."""

_LOOK = 0.5
_STEADY = 1.6
"""Seconds after which a right picture is looked at again: longer than a station's interval."""


class WrongPictureError(Exception):
    """The broker does not retain the truth, although it had the time to."""

    def __init__(self, found: Sequence[Wrong], happening: Sequence[str]) -> None:
        super().__init__(f"{len(found)} topics are wrong: {', '.join(happening)}")
        self.found = found


@dataclass(slots=True)
class Course:
    """What happened so far, by name; how often the picture was judged, and of how many topics; `slowest` in seconds."""

    world: World
    truth: Truth
    seeded_random: Random
    happened: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    topics: int = 0
    slowest: float = 0.0

    def begin(self) -> None:
        """Everybody answers."""
        self.world.tell(self.truth, {})
        self._judge(["the start"])

    def step(self) -> None:
        """Faults begin, some end, the picture is judged; the rest ends, and it is judged again."""
        happening: list[str] = []
        broker = self._draw(BROKER, happening, 0.6)
        end = BROKER[broker](self.world, self.seeded_random) if broker else _nothing
        # Either the cloud is away or stations are in trouble: what both give together depends on which was first.
        away = self._draw(CLOUD, happening, 0.2)
        calm = CLOUD[away](self.world, self.seeded_random) if away else _nothing
        troubled = {} if away else self._trouble(happening)
        self._give(troubled, away=bool(away))
        self._reconfigure(happening, troubled, away=bool(away))
        end()
        if self.seeded_random.random() < 0.2:
            happening.append("a consumer starts")
            self.world.say_birth(self.truth.settings.prefix)
        self.happened.update(happening)
        self._judge(happening)
        calm()
        self._mend(troubled)
        self._judge(["all of it is over"])

    def _trouble(self, happening: list[str]) -> dict[str, str]:
        """Some stations, each with the name of its trouble."""
        stations = self.seeded_random.sample(list(self.truth.stations), self.seeded_random.randint(0, 6))
        return {uuid: self._draw(TROUBLES, happening) for uuid in stations}

    def _give(self, troubled: Mapping[str, str], *, away: bool) -> None:
        """Other values for some stations, of which those in trouble cannot tell theirs."""
        stations = {
            uuid: other_values(self.seeded_random, station) if self.seeded_random.random() < 0.4 else station
            for uuid, station in self.truth.stations.items()
        }
        self.truth = replace(self.truth, stations=stations)
        self._set_reasons(troubled, away=away)
        self.world.tell(self.truth, {uuid: TROUBLES[name] for uuid, name in troubled.items()})

    def _reconfigure(self, happening: list[str], troubled: Mapping[str, str], *, away: bool) -> None:
        if self.seeded_random.random() < 0.15:
            happening.append("a configuration that is none")
            self.world.reload_nonsense()
        if self.seeded_random.random() < 0.5:
            for name in self.seeded_random.sample(list(CHANGES), self.seeded_random.randint(1, 3)):
                happening.append(name)
                self.truth = CHANGES[name](self.seeded_random, self.truth)
            self._set_reasons(troubled, away=away)
            self.world.tell(self.truth, {uuid: TROUBLES[name] for uuid, name in troubled.items()})
            self.world.reload(self.truth)

    def _set_reasons(self, troubled: Mapping[str, str], *, away: bool) -> None:
        otherwise = "unreachable" if away else "online"
        stations = {
            uuid: replace(station, reason=TROUBLES[troubled[uuid]].reason if uuid in troubled else otherwise)
            for uuid, station in self.truth.stations.items()
        }
        self.truth = replace(self.truth, stations=stations)

    def _mend(self, troubled: Mapping[str, str]) -> None:
        """No trouble any more; who was rejected gets another token, or it would be asked in 15 minutes only."""
        self._set_reasons({}, away=False)
        rejected = {uuid: name for uuid, name in troubled.items() if TROUBLES[name].rejected}
        if rejected:
            self.truth = with_new_tokens(self.seeded_random, self.truth, rejected)
        self.world.tell(self.truth, {})
        if rejected:
            self.world.reload(self.truth)

    def _judge(self, happening: Sequence[str]) -> None:
        """Wait until the picture is right, and still is a little later.

        Raises:
            WrongPictureError: it is not within PATIENCE, or the bridge has ended.
        """
        self.truth = learn(self.truth)
        began = time.monotonic()
        while found := self._look():
            if time.monotonic() - began > PATIENCE or not self.world.bridge.running:
                raise WrongPictureError(found, happening)
            time.sleep(_LOOK)
        seconds = time.monotonic() - began
        time.sleep(_STEADY)
        if found := self._look():
            raise WrongPictureError(found, [*happening, "after it was right"])
        self.checks += 1
        self.topics = len(retained(self.truth))
        self.slowest = max(self.slowest, seconds)
        print(f"right after {seconds:5.1f} s: {', '.join(happening) or 'nothing but other values'}", flush=True)

    def _look(self) -> list[Wrong]:
        return wrong(self.truth, FOREIGN, self.world.retained())

    def _draw(self, table: Mapping[str, object], happening: list[str], chance: float = 1.0) -> str:
        """A name of the table, or with 1 - `chance` none."""
        if self.seeded_random.random() >= chance:
            return ""
        happening.append(self.seeded_random.choice(list(table)))
        return happening[-1]


def _nothing() -> None:
    pass
