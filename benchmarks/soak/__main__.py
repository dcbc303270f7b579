"""`python -m benchmarks.soak [--minutes 3] [--seed N]`: causes random faults; exits with 1 if a topic was wrong."""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.soak.changes import initial_model
from benchmarks.soak.environment import Environment, ProcessUsage, SoakError
from benchmarks.soak.kinds import ALL_KINDS, Kinds
from benchmarks.soak.run import SoakRun, WrongTopicsError

_STATIONS = 40
_MAX_LINES = 20
"""Number of wrong topics, and of the bridge's log lines, in a report."""

_RESTARTS_UNTIL = 1 / 3
"""Share of the time with restarts, so that leaks of the last process become visible."""

_RESTARTS = 0.4
"""Probability of a restart instead of other faults, during that time."""


def main() -> None:
    """Cause faults for the given time and report the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="duration in minutes; the last step is completed")
    parser.add_argument("--seed", type=int, help="repeat the faults of an earlier run, in the same order")
    parser.add_argument("--only", action="append", default=[], choices=ALL_KINDS, metavar="KIND", help=_ONLY)
    parser.add_argument("--without", action="append", default=[], choices=ALL_KINDS, metavar="KIND", help=_WITHOUT)
    parser.add_argument("--list", action="store_true", help="list the kinds of faults and changes")
    options = parser.parse_args()
    if options.list:
        print(*ALL_KINDS, sep="\n")
        return
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    kinds = Kinds.chosen(random.Random(seed), options.only, options.without)  # noqa: S311  # no secret
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all processes are stopped
    print(f"seed {seed}, {_STATIONS} stations, {len(kinds.enabled)} kinds of faults, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="evse-soak-") as folder:
        passed = _soak(Path(folder), kinds, options.minutes * 60)
    if not passed:
        sys.exit(
            f"to repeat, with the same kinds: python -m benchmarks.soak --seed {seed} --minutes {options.minutes:g}"
        )


_ONLY = "cause this kind of fault or change, and no others that are not named; may be repeated"
_WITHOUT = "do not cause this kind of fault or change; may be repeated"


def _soak(folder: Path, kinds: Kinds, seconds: float) -> bool:
    model = initial_model(kinds.rng, _STATIONS)
    with Environment(folder, model) as environment:
        run = SoakRun(environment, model, kinds)
        try:
            run.start()
            began = time.monotonic()
            while (elapsed := time.monotonic() - began) < seconds:
                if elapsed > seconds * _RESTARTS_UNTIL or not run.restart(_RESTARTS):
                    run.step()
        except SoakError as error:
            environment.bridge.resume_log()
            print(f"\nFAILED: {error}", *error.details[:_MAX_LINES], "last lines of the bridge's log:", sep="\n  ")
            print("", *environment.bridge.stderr[-_MAX_LINES:], sep="\n  ")
            _report(run, len(error.details) if isinstance(error, WrongTopicsError) else 0)
            return False
        _report(run, 0)
        environment.bridge.stop()
        availability = environment.retained()[f"{run.model.settings.base}/bridge/availability"]
        print(f"the bridge exited with code 0; its availability is {availability!r}")
        return availability == "offline"


def _report(run: SoakRun, wrong: int) -> None:
    environment = run.environment
    processes = [*environment.processes, *environment.current_process]
    print(f"\nfaults and changes: {run.events.total()}")
    for name, count in sorted(run.events.items()):
        print(f"  {count:4} {name}")
    if missing := run.kinds.enabled - run.events.keys():
        print("  none of:", ", ".join(sorted(missing)))
    print(f"checks: {run.checks}, the last of {run.topics:,} topics; slowest {run.slowest:.1f} s")
    print(f"wrong retained topics: {wrong}")
    print(f"polls: {environment.cloud.polls:,}; log lines: {environment.log_lines}")
    print(f"processes of the bridge: {len(processes)}")
    if processes:
        _report_process(processes[-1], max(process.peak for process in processes))


def _report_process(last: ProcessUsage, peak: int) -> None:
    memory = f"{_mb(last.start.memory)} at the start, {_mb(last.end.memory)} at the end, {_mb(last.peak)} at most"
    print(f"resident memory of the last one, in {last.seconds / 60:.1f} minutes: {memory}; of all: {_mb(peak)} at most")
    print(f"open files of the last one: {last.start.files} at the start, {last.end.files} at the end")


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


if __name__ == "__main__":
    main()
