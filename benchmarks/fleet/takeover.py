"""Measures a take-over: when the stations of a lost member are polled again, and when their values are current."""

import json
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cadence import polls
from benchmarks.cloud import plugs_of, uuid_of
from benchmarks.fleet.rig import FleetRig, FleetSettings, cpu_of
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.domain.shards import shard_of

__all__ = ["FAULTS", "Takeover", "measure", "summary"]

_SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "stop": signal.SIGTERM}
_CUTS = {"cut-broker": (True, False), "cut-etcd": (False, True), "cut-both": (True, True)}
"""Whether the paths of a member to the broker and to etcd are cut."""

FAULTS = (*_SIGNALS, *_CUTS)
"""What can happen to a member."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """What happened after a member was lost; times in seconds since then.

    Attributes:
        taken: Number of stations of the lost member.
        polled: When the last of its stations was polled.
        online: When the last of its shards had another holder that published everything.
        first_current: When the first plug of its stations had a new value.
        current: When the last one had.
        messages: Number of messages until then.
        discovery: Number of discovery messages until then.
        offline: Topics that became `offline`, except that of the member.
        decreased: Counters of energy that decreased, with both values.
        cpu: CPU seconds of the survivor until the values were current.
        memory: Resident memory of the survivor in bytes.
    """

    taken: int
    polled: float
    online: float
    first_current: float
    current: float
    messages: int
    discovery: int
    offline: tuple[str, ...]
    decreased: tuple[str, ...]
    cpu: float
    memory: int


class _Observer:
    """Records what arrives after a moment."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, float] = {}
        self.infos: dict[int, dict[str, object]] = {}
        self.info_times: dict[int, float] = {}
        self.offline: list[str] = []
        self._energy: dict[str, float] = {}
        self.decreased: list[str] = []
        self.messages = self.discovery = 0
        self._subscriber = Subscriber(port, "evse/#", "homeassistant/#", on_message=self._received)
        self._subscriber.__enter__()

    def reset(self) -> None:
        with self._lock:
            self._times.clear()
            self.offline.clear()
            self.messages = self.discovery = 0

    def close(self) -> None:
        self._subscriber.close()

    def is_complete(self, shards: Iterable[int], holder: str = "") -> bool:
        """Return whether all discovery of these shards is acknowledged, of this holder if one is given."""
        infos = (self.infos.get(shard, {}) for shard in shards)
        return all("discovery_digest" in info and holder in ("", info["holder"]) for info in infos)

    def times(self, topics: set[str]) -> list[float]:
        """Return when these topics were published last, those that were."""
        with self._lock:
            return [self._times[topic] for topic in topics & self._times.keys()]

    def _received(self, topic: str, payload: bytes) -> None:
        now = time.monotonic()
        with self._lock:
            self.messages += 1
            if topic.endswith("/time"):
                self._times.setdefault(topic, now)
            elif topic.endswith("/energy"):
                if float(payload or 0) < self._energy.get(topic, 0.0):
                    self.decreased.append(f"{topic} {self._energy[topic]} {payload.decode()}")
                self._energy[topic] = float(payload or 0)
            elif topic.startswith("homeassistant/"):
                self.discovery += 1
            elif topic.startswith("evse/bridge/") and topic.endswith("/info") and payload:
                info = json.loads(payload)
                shard = info.get("shard", 0)
                self.infos[shard], self.info_times[shard] = info, now
            elif payload == b"offline" and "/members/" not in topic:
                self.offline.append(topic)


def measure(settings: FleetSettings, fault: str) -> Takeover:
    """Run two members, end one of them, and return what happens."""
    with FleetRig(settings) as fleet:
        observer = _Observer(fleet.rig.broker.port)
        try:
            return _measure(fleet, observer, fault)
        except TimeoutError:
            for name in ("m1", "m2"):
                print(fleet.log_of(name).read_text()[-3000:])
            raise
        finally:
            observer.close()


def summary(result: Takeover) -> str:
    """Return the figures in one line."""
    parts = (
        f"{result.taken} taken over",
        f"all polled after {result.polled:.1f} s",
        f"values current after {result.first_current:.1f} to {result.current:.1f} s",
        f"shards complete after {result.online:.1f} s",
        f"{result.messages} messages, of which {result.discovery} discovery",
        f"offline: {', '.join(result.offline) or 'none'}",
        f"decreased counters: {len(result.decreased)} {', '.join(result.decreased[:3])}",
        f"survivor {result.cpu:.1f} s of CPU time, {result.memory / 2**20:.0f} MB",
    )
    return "; ".join(parts)


def _measure(fleet: FleetRig, observer: _Observer, fault: str) -> Takeover:
    settings = fleet.settings
    uuids = [uuid_of(number) for number in range(settings.stations)]
    topics = {uuid: {f"evse/{uuid}/{plug}/time" for plug in plugs_of(uuid)} for uuid in uuids}
    everything = set().union(*topics.values())
    for name in ("m1", "m2"):
        fleet.start(name, has_proxies=fault in _CUTS)
    _wait(lambda: len(observer.times(everything)) == len(everything), 300, "all values")
    _wait(lambda: observer.is_complete(range(settings.shards)), 300, "complete discovery")
    lost = next(str(info["holder"]) for info in observer.infos.values())
    time.sleep(3 * settings.ttl + 5)  # so that the members count as steady, as in a fleet that has run for long
    survivor = "m2" if lost == "m1" else "m1"
    shards = {shard for shard, info in observer.infos.items() if info["holder"] == lost}
    wanted = {topic for uuid, each in topics.items() if shard_of(uuid, settings.shards) in shards for topic in each}
    observer.reset()
    cpu = cpu_of(fleet.members[survivor].pid)
    began, began_at = time.monotonic(), time.time()
    if fault in _SIGNALS:
        fleet.send(lost, _SIGNALS[fault])
    else:
        for proxy, is_cut in zip(fleet.paths[lost], _CUTS[fault], strict=True):
            if is_cut:
                proxy.blackhole()
    _wait(lambda: len(observer.times(wanted)) == len(wanted), 180, "current values")
    cpu = cpu_of(fleet.members[survivor].pid) - cpu
    messages, discovery = observer.messages, observer.discovery
    _wait(lambda: observer.is_complete(shards, survivor), 180, "complete discovery of the survivor")
    for line in fleet.log_of(survivor).read_text().splitlines():
        if not any(part in line for part in ("station available", "running a shard")):
            print(f"  {line}")
    times = observer.times(wanted)
    return Takeover(
        taken=len(wanted) // 2,
        polled=_last_first_poll(fleet, began_at, {topic.split("/")[1] for topic in wanted}) - began_at,
        online=max(observer.info_times[shard] for shard in shards) - began,
        first_current=min(times) - began,
        current=max(times) - began,
        messages=messages,
        discovery=discovery,
        offline=tuple(observer.offline),
        decreased=tuple(observer.decreased),
        cpu=cpu,
        memory=_memory(fleet.members[survivor].pid),
    )


def _last_first_poll(fleet: FleetRig, began: float, uuids: set[str]) -> float:
    first: dict[str, float] = {}
    for uuid, at in polls(fleet.rig.cloud.polls_log, began).items():
        if uuid in uuids:
            first[uuid] = min(at)
    return max(first.values())


def _wait(condition: Callable[[], bool], timeout: float, what: str) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.1)


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
