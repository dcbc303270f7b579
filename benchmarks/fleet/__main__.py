"""Measures a fleet of two members with etcd and Mosquitto on this machine; prints one line per run."""

import argparse

from benchmarks.fleet.rig import FleetSettings
from benchmarks.fleet.takeover import FAULTS, measure, summary


def main() -> None:
    """Run the selected measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--stations", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0, help="limit of requests per second (0: none)")
    parser.add_argument("--interval", type=float, default=30.0, help="polling interval in seconds")
    parser.add_argument("--fault", choices=sorted(FAULTS), default="kill")
    options = parser.parse_args()
    settings = FleetSettings(options.stations, options.shards, options.interval, options.rate)
    result = measure(settings, options.fault)
    print(f"{options.fault}, {options.stations} stations, {options.shards} shards: {summary(result)}")


main()
