"""Measures the bridge and prints tables; with --write, also puts them into docs/performance.md."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from benchmarks.aging import aging
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.energy import energy
from benchmarks.fallback import fallback
from benchmarks.faults import faults
from benchmarks.footprint import footprint
from benchmarks.guard import guard
from benchmarks.hanging import hanging
from benchmarks.health import health
from benchmarks.history import history
from benchmarks.kills import kills
from benchmarks.latency import latency
from benchmarks.machine import description, leave_measured_core
from benchmarks.metering import metering
from benchmarks.metrics import metrics
from benchmarks.outages import outages
from benchmarks.profile import profile
from benchmarks.report import Table, write
from benchmarks.scale import scale
from benchmarks.throughput import throughput
from benchmarks.transports import transports

_PARTS: dict[str, Callable[[Effort], Iterator[Table]]] = {
    "throughput": throughput,
    "latency": latency,
    "fallback": fallback,
    "profile": profile,
    "footprint": footprint,
    "health": health,
    "transports": transports,
    "scale": scale,
    "faults": faults,
    "hanging": hanging,
    "metrics": metrics,
    "aging": aging,
    "energy": energy,
    "kills": kills,
    "outages": outages,
    "metering": metering,
    "history": history,
}
_GUARD = "guard"


def main() -> None:
    """Run the selected parts, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*_PARTS, _GUARD]
    parser.add_argument("part", nargs="*", help=f"what to measure: {', '.join(names)} (default: all but {_GUARD})")
    parser.add_argument("--against", default="", metavar="COMMIT", help="what to compare with (default: latest tag)")
    parser.add_argument("--quick", action="store_true", help="use few stations and short runs, for a first impression")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    unknown = set(options.part) - set(names)
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    parts: dict[str, Callable[[Effort], Iterator[Table]]] = {**_PARTS, _GUARD: partial(guard, against=options.against)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all processes are stopped
    leave_measured_core()
    print(description())
    for name in options.part or _PARTS:
        began = time.monotonic()
        tables = list(parts[name](QUICK if options.quick else FULL))
        conditions = f"Measured {datetime.now(UTC):%Y-%m-%d}: {description()}."
        for table in tables:
            print(f"\n{table.name}\n\n{table}\n")
        print(f"{name} took {time.monotonic() - began:.0f} s\n", flush=True)
        if options.write:
            for name_without_marks in write(tables, conditions):
                print(f"docs/performance.md has no marks for the table {name_without_marks}")


if __name__ == "__main__":
    main()
