"""Compares the working tree with a tag or commit, alternating within one run, and prints ratios.

The other tree runs with the packages of this environment. Instructions are comparable on a busy machine, CPU time on a
quiet one.
"""

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bridge import Bridge, availability_topics, environment_of, watch_availability
from benchmarks.client import ROOT
from benchmarks.effort import Effort
from benchmarks.instructions import InstructionCounter, missing_reason
from benchmarks.latency import COUNTED_RATE, counted_paced, paced
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from benchmarks.throughput import FullLoad, counted_full_load, full_load

__all__ = ["guard"]

_REPUBLISHED = 100
"""Number of stations while the instructions of a full republish are counted."""

_RARELY = 1_000.0
"""An interval in seconds at which no station is polled a second time meanwhile."""

_START = 60.0


def guard(effort: Effort, against: str = "") -> Iterator[Table]:
    """Compare the working tree with the commit `against`; empty: the latest tag, or `HEAD` without tags.

    Raises:
        SystemExit: The commit does not exist.
    """
    commit = against or _git("describe", "--tags", "--abbrev=0", missing="HEAD")
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with _worktree_of(commit) as other:
        for number in range(effort.rounds):
            for name, tree in ((commit, other), ("working tree", ROOT)):
                print(f"guard: {name}, round {number + 1} of {effort.rounds}", flush=True)
                for measure in _measures(counted=number == 0):
                    for row, value in measure(effort, tree).items():
                        results[row][name].append(value)
    columns = ("", commit, "working tree", "ratio")
    rows = tuple(_row(name, values[commit], values["working tree"]) for name, values in results.items())
    reason = missing_reason()
    yield Table("guard", columns, rows, (f"Instructions were not counted: {reason}.",) if reason else ())


_Measure = Callable[[Effort, Path], dict[str, float]]


def _measures(*, counted: bool) -> tuple[_Measure, ...]:
    """Return the measurements of a round; `counted`: including the instructions, which hardly vary."""
    return (*((_instructions, _republish, _health) if counted and not missing_reason() else ()), _full_load, _paced)


def _row(name: str, before: list[float], after: list[float]) -> tuple[str, ...]:
    form = ".0f" if max(before + after) >= 100 else ".3f"
    return name, spread(before, form), spread(after, form), f"{_median(after) / _median(before):.2f}"


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@dataclass(frozen=True, slots=True)
class _Load:
    """A load at which instructions are counted."""

    name: str
    changing: float
    count: Callable[[Rig, Effort, Path], float]


def _counted_full_load(rig: Rig, effort: Effort, tree: Path) -> float:
    return counted_full_load(rig, effort, FullLoad(tree=tree))


def _counted_paced(rig: Rig, effort: Effort, tree: Path) -> float:
    return counted_paced(rig, effort, 1, tree=tree)


_LOADS = (
    _Load("full load, nothing changing", 0.0, _counted_full_load),
    _Load("full load, one in ten changing", 0.1, _counted_full_load),
    _Load(f"{COUNTED_RATE:g} polls/s, QoS 1, one in ten changing", 0.1, _counted_paced),
)


def _instructions(effort: Effort, tree: Path) -> dict[str, float]:
    values = {}
    for load in _LOADS:
        with Rig(changing=load.changing) as rig:
            values[f"1000 instructions per poll, {load.name}"] = load.count(rig, effort, tree) / 1000
    return values


def _republish(_effort: Effort, tree: Path) -> dict[str, float]:
    """Count the instructions from the restart of an empty broker until it retains every topic; no station is polled."""
    stations = range(_REPUBLISHED)
    topics = availability_topics(stations)
    with Rig() as rig, Bridge(rig, Settings(interval=_RARELY), stations, tree=tree, is_counted=True) as bridge:
        with watch_availability(rig) as subscriber:
            subscriber.wait(lambda latest: latest.keys() == topics, bridge.patience(_START), "stations to be published")
        messages = rig.broker.wait_until_all_are_retained(bridge.patience(_START))
        rig.broker.stop()
        bridge.start_counting()
        rig.broker.start()
        rig.broker.wait_for_retained(messages, bridge.patience(_START))
        return {"1000 instructions per message of a full republish": bridge.stop_counting() / messages / 1000}


def _health(_effort: Effort, tree: Path) -> dict[str, float]:
    """Count the instructions of `health` and measure its CPU time, without a bridge that it could reach."""
    with Rig() as rig:
        config = rig.write_config(Settings(), range(1))
        counter = InstructionCounter(rig.folder)
        command: list[str | Path] = [sys.executable, "-m", "evse_mqtt_bridge", "health", "--config", config]
        subprocess.run(
            counter.command(command, from_start=True),
            cwd=tree,
            env=environment_of(tree, rig),
            capture_output=True,
            check=False,
        )
        return {"million instructions per health check": counter.total() / 1e6}


def _full_load(effort: Effort, tree: Path) -> dict[str, float]:
    with Rig(changing=0.1) as rig:
        figures = full_load(rig, effort, FullLoad(tree=tree))
    return {
        "polls/s, full load": figures.polls,
        "CPU us per poll, full load": figures.cpu_per_poll * 1000,
        "RSS MB, full load": figures.memory / 2**20,
    }


def _paced(effort: Effort, tree: Path) -> dict[str, float]:
    with Rig(changing=0.1) as rig:
        figures, latencies = paced(rig, effort, 1, tree=tree)
    load = f"{figures.polls:.0f} polls/s, QoS 1"
    return {
        f"CPU us per poll, {load}": figures.cpu_per_poll * 1000,
        f"p99 latency in ms, {load}": latencies.percentile(99),
        f"RSS MB, {load}": figures.memory / 2**20,
    }


@contextmanager
def _worktree_of(commit: str) -> Iterator[Path]:
    """Check out a commit into a folder of its own, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="evse-bench-tree-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str, missing: str | None = None) -> str:
    """Return what git prints; `missing` if it fails."""
    result = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        if missing is not None:
            return missing
        raise SystemExit(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout.strip()
