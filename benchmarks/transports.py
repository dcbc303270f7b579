"""Compares HTTP clients: bare requests over TLS, as many as one core can send."""

from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.report import Table, spread
from benchmarks.rig import Rig

__all__ = ["transports"]

_VARIANTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("httpx, its own pool, 100 connections", {"client": "httpx"}),
    ("httpx, its own pool, 10 connections", {"client": "httpx", "connections": 10}),
    ("httpx's transport, prepared requests, 10 connections", {"client": "httpx-prepared", "connections": 10}),
    ("aiohttp", {"client": "aiohttp"}),
    ("libcurl, as pycurl brings it to asyncio", {"client": "libcurl"}),
    ("the bridge's transport on httpx", {"client": "bridge-httpx"}),
    ("the bridge's transport on libcurl", {"client": "bridge-libcurl"}),
)


def transports(effort: Effort) -> Iterator[Table]:
    """Measure requests per second, with 100 connections unless a row has another number."""
    has_curl = find_spec("pycurl") is not None
    variants = [variant for variant in _VARIANTS if has_curl or "libcurl" not in str(variant[1]["client"])]
    figures: dict[str, list[Figures]] = defaultdict(list)
    for number in range(effort.rounds):
        print(f"transports: round {number + 1} of {effort.rounds}")
        with Rig() as rig:
            for name, options in variants:
                figures[name].append(_measure(rig, options, effort))
    rows = [
        (
            name,
            spread([each.polls for each in found]),
            spread([each.cpu_per_poll for each in found], ".3f"),
            f"{max(each.memory for each in found) / 2**20:.0f}",
        )
        for name, found in figures.items()
    ]
    notes = () if has_curl else ("Without libcurl: pycurl is not installed.",)
    yield Table("transports", ("", "requests/s", "CPU ms per request", "RSS MB"), tuple(rows), notes)


def _measure(rig: Rig, options: dict[str, object], effort: Effort) -> Figures:
    where = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "stations": 1000}
    with Client(rig, script("bare_get", **where, **options)) as client:
        client.wait_for_polls(rig.cloud.polls() + 300, 30)
        return client.figures(effort.seconds / 2)
