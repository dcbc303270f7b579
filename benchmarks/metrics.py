"""What a scrape of the metrics costs while thousands of stations are polled."""

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
_SCRAPED_EACH = 15.0
_DENSE = 40
_PAUSE = 0.25


def metrics(effort: Effort) -> Iterator[Table]:
    """A tenth of `effort.paced` polls per second, at times with a scrape every 15 s."""
    columns = (
        "stations",
        "polls/s",
        "CPU of a core, no scrapes",
        "one every 15 s",
        "CPU ms per scrape",
        "of a core at 15 s",
        "answered after ms, median",
        "slowest",
        "KB",
    )
    yield Table("metrics", columns, (_row(effort),))


def _row(effort: Effort) -> tuple[str, ...]:
    stations = range(effort.paced)
    topics = availability_topics(stations)
    quiet, scraped, costs, polls = [], [], [], []
    took: list[float] = []
    size = 0
    with Rig(changing=0.1) as rig:
        config = rig.write_config(Settings(interval=_INTERVAL, discovery=False), stations)
        port = free_port()
        switched_on = {"EVSE_MQTT_BRIDGE__HTTP__ENABLED": "true", "EVSE_MQTT_BRIDGE__HTTP__PORT": str(port)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EVSE_MQTT_BRIDGE")}
        command = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", str(config)]
        with watch_availability(rig) as watching, Client(rig, command, {**kept, **switched_on}) as bridge:
            watching.wait(
                lambda latest: latest.keys() == topics,
                60 + effort.paced / 50,
                f"{effort.paced} stations to be published",
            )
            time.sleep(1.5 * _INTERVAL)  # until the stations are on their grid
            for number in range(effort.rounds):
                print(f"metrics: round {number + 1}")
                figures = bridge.figures(2 * _SCRAPED_EACH)
                quiet.append(figures.cpu)
                polls.append(figures.polls)
                scraped.append(_cpu_with_scrapes(bridge, port, 2, _SCRAPED_EACH)[0])
                # One every 15 s is hard to tell from none; many in a row show what one costs.
                before = bridge.figures(_DENSE * _PAUSE).cpu
                dense, seconds, size = _cpu_with_scrapes(bridge, port, _DENSE, _PAUSE)
                costs.append((dense - before) * _PAUSE * 1000)
                took += seconds
    return (
        f"{effort.paced:,}",
        spread(polls),
        spread(quiet, ".3f"),
        spread(scraped, ".3f"),
        spread(costs, ".1f"),
        f"{median(costs) / 1000 / _SCRAPED_EACH:.2%}",
        f"{median(took) * 1000:.0f}",
        f"{max(took) * 1000:.0f}",
        f"{size / 1024:.0f}",
    )


def _cpu_with_scrapes(bridge: Client, port: int, count: int, pause: float) -> tuple[float, list[float], int]:
    """CPU seconds per second while it is scraped, how long each scrape took in seconds, and its size in bytes."""
    took, size = [], 0
    began, cpu = time.monotonic(), bridge.usage.cpu
    for number in range(count):
        time.sleep(max(0.0, began + number * pause - time.monotonic()))
        asked = time.monotonic()
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
            size = len(response.read())
        took.append(time.monotonic() - asked)
    time.sleep(max(0.0, began + count * pause - time.monotonic()))
    return (bridge.usage.cpu - cpu) / (time.monotonic() - began), took, size
