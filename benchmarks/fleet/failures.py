"""Injects random failures into a fleet, one after the other, and compares what the broker has at the end."""

import random
import signal
import time
from functools import partial

from benchmarks.bridge import retained_topics, topics_of
from benchmarks.fleet.rig import FleetRig, FleetSettings
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["run_failures"]

_MEMBERS = ("m1", "m2", "m3")
_TOPICS = Topics("evse")
_SETTLING = 240.0
"""Seconds for the fleet to publish everything after the last failure."""


class _Failures:
    """The failures; each method injects one, and repairs it after a while.

    Args:
        fleet: The fleet, whose members run.
        chance: Source of randomness.
    """

    def __init__(self, fleet: FleetRig, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.stations = fleet.settings.stations
        self.all = (
            self._kill_member,
            self._stop_member,
            self._freeze_member,
            self._flap_member,
            self._freeze_etcd,
            self._kill_etcd,
            self._empty_etcd,
            self._restart_broker,
            self._restart_broker_without_etcd,
            self._reload,
        )

    def _pause(self, longest: float) -> float:
        seconds = self._chance.uniform(0.2, longest)
        time.sleep(seconds)
        return seconds

    def _any_member(self) -> str:
        return self._chance.choice(sorted(self._fleet.members))

    def _kill_member(self) -> str:
        name = self._any_member()
        self._fleet.kill(name)
        seconds = self._pause(20)
        self._fleet.start(name)
        return f"{name} killed, and started after {seconds:.1f} s"

    def _stop_member(self) -> str:
        name = self._any_member()
        self._fleet.stop(name)
        seconds = self._pause(10)
        self._fleet.start(name)
        return f"{name} stopped, and started after {seconds:.1f} s"

    def _freeze_member(self) -> str:
        name = self._any_member()
        self._fleet.send(name, signal.SIGSTOP)
        seconds = self._pause(20)
        self._fleet.send(name, signal.SIGCONT)
        return f"{name} frozen for {seconds:.1f} s"

    def _flap_member(self) -> str:
        name = self._any_member()
        for _ in range(3):
            self._fleet.kill(name)
            self._fleet.start(name)
            self._pause(4)
        return f"{name} killed three times"

    def _freeze_etcd(self) -> str:
        self._fleet.etcd.freeze()
        seconds = self._pause(15)
        self._fleet.etcd.thaw()
        return f"etcd frozen for {seconds:.1f} s"

    def _kill_etcd(self) -> str:
        self._fleet.etcd.kill()
        seconds = self._pause(10)
        self._fleet.etcd.start()
        return f"etcd killed, and started after {seconds:.1f} s"

    def _empty_etcd(self) -> str:
        self._fleet.etcd.empty()
        return "etcd lost its data"

    def _restart_broker(self) -> str:
        self._fleet.rig.broker.stop()
        seconds = self._pause(8)
        self._fleet.rig.broker.start()
        return f"broker killed, and started empty after {seconds:.1f} s"

    def _restart_broker_without_etcd(self) -> str:
        self._fleet.etcd.kill()
        text = self._restart_broker()
        self._pause(8)
        self._fleet.etcd.start()
        return f"without etcd: {text}"

    def _reload(self) -> str:
        self.stations = max(10, self.stations + self._chance.choice((-4, 4)))
        self._fleet.write_config(range(self.stations))
        for name in self._chance.sample(sorted(self._fleet.members), len(self._fleet.members)):
            self._fleet.send(name, signal.SIGHUP)
            self._pause(4)
        return f"reloaded with {self.stations} stations"


def run_failures(rounds: int, seed: int) -> bool:
    """Inject failures; return whether the broker has exactly the topics of the configuration at the end."""
    settings = FleetSettings(stations=60, shards=8, interval=2.0, ttl=6)
    chance = random.Random(seed)  # noqa: S311  # repeatable
    with FleetRig(settings) as fleet:
        for name in _MEMBERS:
            fleet.start(name)
        _wait_for_all(fleet, settings.stations)
        failures = _Failures(fleet, chance)
        for number in range(1, rounds + 1):
            print(f"{number}: {chance.choice(failures.all)()}", flush=True)
            time.sleep(chance.uniform(0, 6))
        began = time.monotonic()
        _wait_for_all(fleet, failures.stations)
        print(f"everything online {time.monotonic() - began:.1f} s after the last failure")
        wrong = _wrong_topics(fleet, failures.stations)
        _print_problems(fleet, wrong)
        return not any(wrong)


def _expected(fleet: FleetRig, stations: int) -> set[str]:
    shards = (_TOPICS.of_shard(number) for number in range(1, fleet.settings.shards))
    own = {topic for topics in shards for topic in (topics.info, topics.availability)}
    return topics_of(range(stations)) | own | {_TOPICS.member(name) for name in fleet.members}


def _wait_for_all(fleet: FleetRig, stations: int) -> None:
    availability = {topic for topic in _expected(fleet, stations) if topic.endswith("/availability")}
    filters = ("evse/+/availability", "evse/+/+/availability", "evse/bridge/+/availability")
    with Subscriber(fleet.rig.broker.port, *filters) as subscriber:
        subscriber.wait(partial(_are_online, availability), _SETTLING, f"{stations} stations and all shards")


def _are_online(topics: set[str], latest: dict[str, bytes]) -> bool:
    return latest.keys() == topics and set(latest.values()) == {b"online"}


def _wrong_topics(fleet: FleetRig, stations: int) -> tuple[set[str], set[str]]:
    """Return missing and surplus topics; a member may need some time to clear the latter."""
    expected = _expected(fleet, stations)
    retained: set[str] = set()
    for _ in range(12):
        retained = {topic for topic in retained_topics(fleet.rig, len(expected), 10) if not topic.startswith("$")}
        if retained == expected:
            break
        time.sleep(5)
    return expected - retained, retained - expected


def _print_problems(fleet: FleetRig, wrong: tuple[set[str], set[str]]) -> None:
    for kind, topics in zip(("missing", "surplus"), wrong, strict=True):
        print(f"{kind}: {len(topics)} {sorted(topics)[:10]}")
    for name in _MEMBERS:
        text = fleet.log_of(name).read_text()
        print(f"{name}: {text.count('running a shard')} shards begun, {text.count('Traceback')} tracebacks")
        if any(wrong) or "Traceback" in text:
            print(text[-6000:])
