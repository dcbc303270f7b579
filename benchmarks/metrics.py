"""The CPU cost of scraping the metrics while thousands of stations are polled."""

import os
import sys
import time
import urllib.request
from collections.abc import Iterator
from statistics import median

from benchmarks.bridge import availability_topics, watch_availability
from benchmarks.client import Client
from benchmarks.effort import Effort
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from tests.harness.net import HOST, free_port

__all__ = ["metrics"]

_INTERVAL = 10.0
_SCRAPE_INTERVAL = 15.0
_DENSE_SCRAPES = 40
_DENSE_INTERVAL = 0.25


def metrics(effort: Effort) -> Iterator[Table]:
    """Measure a tenth of `effort.paced_stations` polls per second, without scrapes and with one every 15 s."""
    columns = (
        "stations",
        "polls/s",
        "CPU of a core, no scrapes",
        "one every 15 s",
        "CPU ms per scrape",
        "of a core at 15 s",
        "response ms, median",
        "slowest",
        "KB",
    )
    yield Table("metrics", columns, (_row(effort),))


def _row(effort: Effort) -> tuple[str, ...]:
    stations = range(effort.paced_stations)
    topics = availability_topics(stations)
    idle, scraped, costs, polls = [], [], [], []
    durations: list[float] = []
    size = 0
    with Rig(changing=0.1) as rig:
        config = rig.write_config(Settings(interval=_INTERVAL, discovery=False), stations)
        port = free_port()
        settings = {"EVSE_MQTT_BRIDGE__HTTP__ENABLED": "true", "EVSE_MQTT_BRIDGE__HTTP__PORT": str(port)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EVSE_MQTT_BRIDGE")}
        command = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", str(config)]
        with watch_availability(rig) as subscriber, Client(rig, command, {**inherited, **settings}) as bridge:
            subscriber.wait(
                lambda latest: latest.keys() == topics,
                60 + effort.paced_stations / 50,
                f"{effort.paced_stations} stations to be published",
            )
            time.sleep(1.5 * _INTERVAL)  # until polls are evenly distributed
            for number in range(effort.rounds):
                print(f"metrics: round {number + 1}")
                figures = bridge.figures(2 * _SCRAPE_INTERVAL)
                idle.append(figures.cpu)
                polls.append(figures.polls)
                scraped.append(_cpu_with_scrapes(bridge, port, 2, _SCRAPE_INTERVAL)[0])
                # One scrape every 15 s disappears in the noise; many scrapes in a short time show the cost of one.
                before = bridge.figures(_DENSE_SCRAPES * _DENSE_INTERVAL).cpu
                dense, seconds, size = _cpu_with_scrapes(bridge, port, _DENSE_SCRAPES, _DENSE_INTERVAL)
                costs.append((dense - before) * _DENSE_INTERVAL * 1000)
                durations += seconds
    return (
        f"{effort.paced_stations:,}",
        spread(polls),
        spread(idle, ".3f"),
        spread(scraped, ".3f"),
        spread(costs, ".1f"),
        f"{median(costs) / 1000 / _SCRAPE_INTERVAL:.2%}",
        f"{median(durations) * 1000:.0f}",
        f"{max(durations) * 1000:.0f}",
        f"{size / 1024:.0f}",
    )


def _cpu_with_scrapes(bridge: Client, port: int, count: int, interval: float) -> tuple[float, list[float], int]:
    """Return CPU seconds per second during `count` scrapes, the duration of each in seconds, and the response size."""
    durations, size = [], 0
    began, cpu = time.monotonic(), bridge.usage.cpu
    for number in range(count):
        time.sleep(max(0.0, began + number * interval - time.monotonic()))
        requested = time.monotonic()
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
            size = len(response.read())
        durations.append(time.monotonic() - requested)
    time.sleep(max(0.0, began + count * interval - time.monotonic()))
    return (bridge.usage.cpu - cpu) / (time.monotonic() - began), durations, size
