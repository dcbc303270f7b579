"""`python -m benchmarks.soak [--minutes 3] [--seed N]`: causes random faults; exits with 1 if a topic was wrong."""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import Usage
from benchmarks.soak.changes import initial_model
from benchmarks.soak.environment import Environment
from benchmarks.soak.run import SoakRun, WrongTopicsError

_STATIONS = 40
_MAX_LINES = 20
"""Number of wrong topics, and of the bridge's log lines, in a report."""


def main() -> None:
    """Cause faults for the given time and report the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="duration in minutes; the last step is completed")
    parser.add_argument("--seed", type=int, help="repeat the faults of an earlier run, in the same order")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all processes are stopped
    print(f"seed {seed}, {_STATIONS} stations, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="evse-soak-") as folder:
        passed = _soak(Path(folder), random.Random(seed), options.minutes * 60)  # noqa: S311  # no secret
    if not passed:
        sys.exit(f"to repeat: python -m benchmarks.soak --seed {seed} --minutes {options.minutes:g}")


def _soak(folder: Path, rng: random.Random, seconds: float) -> bool:
    model = initial_model(rng, _STATIONS)
    with Environment(folder, model) as environment:
        run = SoakRun(environment, model, rng)
        before, peak, began = environment.usage, 0, time.monotonic()
        try:
            run.start()
            before, began = environment.usage, time.monotonic()
            while time.monotonic() - began < seconds:
                run.step()
                peak = max(peak, environment.usage.memory)
        except WrongTopicsError as error:
            print(f"\nFAILED: {error}", *error.differences[:_MAX_LINES], "last lines of the bridge's log:", sep="\n  ")
            print("", *environment.bridge.stderr[-_MAX_LINES:], sep="\n  ")
            after = environment.usage if environment.bridge.running else before
            _report(run, before, after, peak, len(error.differences))
            return False
        after = environment.usage
        environment.bridge.terminate()
        environment.bridge.assert_exit(0)
        availability = environment.retained()[f"{run.model.settings.base}/bridge/availability"]
        _report(run, before, after, peak, 0)
        print(f"the bridge exited with code 0; its availability is {availability!r}")
        return availability == "offline"


def _report(run: SoakRun, before: Usage, after: Usage, peak: int, wrong: int) -> None:
    print(f"\nfaults and changes: {run.events.total()}")
    for name, count in sorted(run.events.items()):
        print(f"  {count:4} {name}")
    print(f"checks: {run.checks}, the last of {run.topics:,} topics; slowest {run.slowest:.1f} s")
    print(f"wrong retained topics: {wrong}")
    print(f"polls: {run.environment.cloud.polls:,}; log lines: {len(run.environment.bridge.stderr)}")
    print(f"resident memory: {_mb(before.memory)} at the start, {_mb(after.memory)} at the end, {_mb(peak)} at most")
    print(f"open files: {before.files} at the start, {after.files} at the end")


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


if __name__ == "__main__":
    main()
