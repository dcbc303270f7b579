"""`python -m benchmarks.soak [--minutes 3] [--seed N]`: exits with 1 where a retained topic was wrong."""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import Usage
from benchmarks.soak.changes import first
from benchmarks.soak.course import Course, WrongPictureError
from benchmarks.soak.world import World

_STATIONS = 40
_SHOWN = 20


def main() -> None:
    """Let things happen for so many minutes, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long faults are mixed; what began is finished")
    parser.add_argument("--seed", type=int, help="the same faults again, in the same order")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every process is ended
    print(f"seed {seed}, {_STATIONS} stations, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="evse-soak-") as folder:
        right = _soak(Path(folder), random.Random(seed), options.minutes * 60)  # noqa: S311  # faults are no secret
    if not right:
        sys.exit(f"to see it again: python -m benchmarks.soak --seed {seed} --minutes {options.minutes:g}")


def _soak(folder: Path, seeded_random: random.Random, seconds: float) -> bool:
    truth = first(seeded_random, _STATIONS)
    with World(folder, truth) as world:
        course = Course(world, truth, seeded_random)
        before, most, began = world.usage, 0, time.monotonic()
        try:
            course.begin()
            before, began = world.usage, time.monotonic()
            while time.monotonic() - began < seconds:
                course.step()
                most = max(most, world.usage.memory)
        except WrongPictureError as error:
            print(f"\nWRONG: {error}", *error.found[:_SHOWN], "the bridge's last lines:", sep="\n  ")
            print("", *world.bridge.stderr[-_SHOWN:], sep="\n  ")
            _report(course, before, world.usage if world.bridge.running else before, most, len(error.found))
            return False
        after = world.usage
        world.bridge.terminate()
        world.bridge.assert_exit(0)
        said = world.retained()[f"{course.truth.settings.base}/bridge/availability"]
        _report(course, before, after, most, 0)
        print(f"ended with exit code 0, and {said!r} as its last word")
        return said == "offline"


def _report(course: Course, before: Usage, after: Usage, most: int, wrong: int) -> None:
    print(f"\nfaults and changes: {course.happened.total()}")
    for name, count in sorted(course.happened.items()):
        print(f"  {count:4} {name}")
    print(f"pictures judged: {course.checks}, the last of {course.topics:,} topics; slowest {course.slowest:.1f} s")
    print(f"wrong retained topics: {wrong}")
    print(f"polls: {course.world.cloud.polls:,}; log lines: {len(course.world.bridge.stderr)}")
    print(f"resident memory: {_mb(before.memory)} at the start, {_mb(after.memory)} at the end, {_mb(most)} at most")
    print(f"open files: {before.files} at the start, {after.files} at the end")


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB"


if __name__ == "__main__":
    main()
