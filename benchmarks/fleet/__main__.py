"""Measures a fleet with etcd and Mosquitto on this machine."""

import argparse
import sys

from benchmarks.fleet.begin import measure_begin
from benchmarks.fleet.cost import measure_cost
from benchmarks.fleet.failures import run_failures
from benchmarks.fleet.outage import OUTAGES, measure_outage
from benchmarks.fleet.rig import FleetSettings
from benchmarks.fleet.takeover import FAULTS, measure, summary


def main() -> int:
    """Run the selected measurement; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    takeover = commands.add_parser("takeover", help="end one of two members")
    takeover.add_argument("--stations", type=int, default=2000)
    takeover.add_argument("--shards", type=int, default=16)
    takeover.add_argument("--rate", type=float, default=0.0, help="limit of requests per second (0: none)")
    takeover.add_argument("--interval", type=float, default=30.0, help="polling interval in seconds")
    takeover.add_argument("--fault", choices=sorted(FAULTS), default="kill")
    failures = commands.add_parser("failures", help="random failures of three members, etcd and the broker")
    failures.add_argument("--rounds", type=int, default=50)
    failures.add_argument("--seed", type=int, default=1)
    begin = commands.add_parser("begin", help="pass half of the shards on to a member, without polls")
    begin.add_argument("--stations", type=int, default=25_000)
    begin.add_argument("--shards", type=int, default=16)
    cost = commands.add_parser("cost", help="one member at rest with several numbers of shards")
    cost.add_argument("--stations", type=int, default=64)
    cost.add_argument("--shards", type=int, nargs="+", default=[1, 16, 64])
    cost.add_argument("--seconds", type=float, default=120.0)
    outage = commands.add_parser("outage", help="an outage of etcd, with two members")
    outage.add_argument("--stations", type=int, default=200)
    outage.add_argument("--interval", type=float, default=5.0, help="polling interval in seconds")
    outage.add_argument("--kind", choices=sorted(OUTAGES), nargs="+", default=sorted(OUTAGES))
    outage.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    if options.command == "outage":
        for kind in options.kind:
            print(measure_outage(options.stations, options.interval, kind, options.seconds), flush=True)
        return 0
    if options.command == "cost":
        for shards in options.shards:
            print(measure_cost(options.stations, shards, options.seconds), flush=True)
        return 0
    if options.command == "begin":
        print(measure_begin(options.stations, options.shards))
        return 0
    if options.command == "failures":
        return 0 if run_failures(options.rounds, options.seed) else 1
    settings = FleetSettings(options.stations, options.shards, options.interval, options.rate)
    result = measure(settings, options.fault)
    print(f"{options.fault}, {options.stations} stations, {options.shards} shards: {summary(result)}")
    return 0


sys.exit(main())
