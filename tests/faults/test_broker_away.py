"""Rows 3 to 5 of the fault contract: a broker that is not there, goes, comes back empty, or only seems to be there."""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.setup import (
    AVAILABILITY,
    PLUG,
    broker_cloud_observer,
    configure,
    log_entries,
    resident_memory,
    running_bridge,
    sleep_until,
    station_answer,
    uuid_of,
    wait_until_up,
)
from tests.harness import CloudServer, Mosquitto, Observer, run_command, status_example
from tests.harness.proxy import Proxy

ReportRow = Callable[[int, str], None]


class Moving:
    """Answers of stations whose power changes with every poll, until it `stands`."""

    def __init__(self, cloud: CloudServer, stations: int) -> None:
        self.stands = False
        self.power = [0] * stations
        for number in range(stations):
            cloud.answer(uuid_of(number), lambda request: self._answer(int(request.uuid, 16)))

    def _answer(self, number: int) -> list[dict[str, object]]:
        if not self.stands:
            self.power[number] += 1
        power = self.power[number]
        return station_answer(number, power=power, time=f"2024-03-25T{power // 60:02}:{power % 60:02}:17.851Z")

    def truth(self) -> dict[str, str]:
        """What the broker must show of it."""
        told = {f"evse/{uuid_of(number)}/{PLUG}/power": str(power) for number, power in enumerate(self.power)}
        times = {
            f"evse/{uuid_of(number)}/{PLUG}/time": f"2024-03-25T{power // 60:02}:{power % 60:02}:17.851Z"
            for number, power in enumerate(self.power)
        }
        return {**told, **times, AVAILABILITY: "online"}


def test_a_broker_that_lost_its_memory_gets_everything_again(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 3: discovery, state and availability are as they were within 10 s of the reconnect."""
    cloud.answer(uuid_of(0), station_answer(0))
    cloud.answer(uuid_of(1), station_answer(1, status="offline"))
    with running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge:
        wait_until_up(observer, 0, 1)
        observer.sync()
        before = observer.retained
        broker.kill()
        bridge.wait_for_line("lost the broker")
        broker.start()
        with Observer(broker.port) as anew:
            assert not anew.latest
            bridge.wait_for_line("connected to the broker.*after|after.*connected to the broker")
            began = time.monotonic()
            anew.wait(lambda: anew.latest == before, timeout=10, what="the whole picture")
            took = time.monotonic() - began
            assert anew.retained == before
    assert len([topic for topic in before if topic.startswith("homeassistant/")]) > 20
    report_row(3, f"{len(before)} retained topics back {took:.1f} s after the reconnect")


@dataclass(frozen=True, slots=True)
class _Outage:
    took: float
    topics: int
    wrong: int
    most: int
    grown: int
    lines: list[str]


def _outage(folder: Path) -> _Outage:
    """40 stations; the broker is killed for 15 s and comes back with nothing; values stand still for its return."""
    stations = 40
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud:
        moving = Moving(cloud, stations)
        with running_bridge(configure(folder, broker, cloud, stations)) as bridge:
            with Observer(broker.port) as before:
                wait_until_up(before, *range(stations))
                before.sync()
                all_topics = before.retained.keys()
                memory = resident_memory(bridge.pid)
                start = time.monotonic()
                broker.kill()
            sleep_until(start + 12)
            moving.stands = True
            counts = {uuid_of(number): len(cloud.requests_of(uuid_of(number))) for number in range(stations)}
            for uuid, count in counts.items():
                cloud.wait_for_requests(count + 2, uuid)
            sleep_until(start + 15)
            broker.start()
            back = time.monotonic()
            with Observer(broker.port) as after:
                after.wait(lambda: all_topics <= after.latest.keys(), 10, "every topic")
                after.wait_for(AVAILABILITY, "online")
                took = time.monotonic() - back
                cloud.wait_for_requests(len(cloud.requests) + 2 * stations)
                after.sync()
                grown = resident_memory(bridge.pid) - memory
                truth = moving.truth()
                return _Outage(
                    took,
                    len(after.latest),
                    sum(after.latest.get(topic) != value for topic, value in truth.items())
                    + len(all_topics ^ after.latest.keys()),
                    max(Counter(seen.topic for seen in after.messages_since()).values()),
                    grown,
                    [entry["message"] for entry in log_entries(bridge) if entry["level"] != "debug"],
                )


def test_after_a_long_outage_each_topic_comes_once_with_its_newest_value(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: memory stays flat; then one message per topic, newest value, its own measurement time; within 10 s."""
    seen = _outage(tmp_path)
    assert seen.took < 10
    assert seen.wrong == 0
    assert seen.most == 1
    assert seen.grown < 10_000_000
    assert seen.lines.count("lost the broker, trying on") == 1
    assert seen.lines.count("the broker cannot be reached, trying on") == 1
    assert seen.lines.count("connected to the broker") == 2
    report_row(
        4,
        f"broker killed for 15 s, 40 stations: {seen.topics} topics, newest values, each once, "
        f"{seen.took:.1f} s after its return; {seen.wrong} wrong; memory {seen.grown / 1e6:+.1f} MB",
    )


def test_absent_at_the_start_is_said_once_and_waited_for(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 5: neither broker nor cloud is there; the bridge goes on, says each once, and starts when they come."""
    cloud.answer(uuid_of(0), station_answer(0))
    cloud.stop()
    broker.stop()
    with running_bridge(configure(tmp_path, broker, cloud)) as bridge:
        bridge.wait_for_line("still no lasting connection", 30)
        bridge.wait_for_line("station unavailable")
        told = [entry["message"] for entry in log_entries(bridge) if entry["level"] in ("warning", "error")]
        assert sorted(told) == ["station unavailable", "the broker cannot be reached, trying on"]
        broker.start()
        cloud.start()
        with Observer(broker.port) as observer:
            observer.wait_for(AVAILABILITY, "online", timeout=30)
            observer.wait_for(f"evse/{uuid_of(0)}/availability", "online", timeout=30)
            observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/power", "7107")
        bridge.wait_for_line("station is back")
    report_row(5, f"warnings: {', '.join(told)}; then {log_entries(bridge, 'station is back')[0]['message']}")


def test_only_a_wrong_configuration_ends_it(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 5: exit 78, with the key and what it expected."""
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhost = "localhost"\nprotocol = 5\n')
    ended = run_command("run", "--config", config)
    assert ended.returncode == 78
    assert ended.stderr == f'{config}:3: mqtt.protocol: expected "5" or "3.1.1"\n'
    report_row(5, f"exit 78: {ended.stderr.strip().removeprefix(str(tmp_path))}")


@dataclass(frozen=True, slots=True)
class _DeadPeer:
    noticed: float
    back: float
    detail: str
    retained: str


def _dead_peer(folder: Path) -> _DeadPeer:
    """The way to the broker swallows everything; keepalive is 5 s."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Proxy(broker.port) as proxy:
        moving = Moving(cloud, 1)
        with (
            running_bridge(configure(folder, proxy, cloud, mqtt={"keepalive": 5})) as bridge,
            Observer(broker.port) as seen,
        ):
            wait_until_up(seen, 0)
            proxy.blackhole()
            began = time.monotonic()
            bridge.wait_for_line("lost the broker", 20)
            noticed = time.monotonic() - began
            # The broker learns of it too, by its own keepalive, and publishes the will.
            seen.wait_for(AVAILABILITY, "offline", timeout=20)
            proxy.restore()
            began = time.monotonic()
            seen.wait_for(AVAILABILITY, "online", timeout=20)
            back = time.monotonic() - began
            moving.stands = True
            seen.wait(lambda: moving.truth().items() <= seen.latest.items())
            detail = log_entries(bridge, "lost the broker")[0]["detail"]
            return _DeadPeer(noticed, back, detail, seen.retained[AVAILABILITY])


def test_keepalive_notices_a_dead_peer(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: a connection that is dead without a word is given up within two keepalives, and made anew."""
    seen = _dead_peer(tmp_path)
    assert seen.noticed < 2 * 5 + 2
    assert seen.detail == "the broker did not answer any more"
    assert seen.back < 16
    assert seen.retained == "online"
    report_row(4, f"keepalive 5 s: dead peer noticed after {seen.noticed:.1f} s, back {seen.back:.1f} s after the calm")


@dataclass(frozen=True, slots=True)
class _Frozen:
    lines: list[tuple[str, str]]
    retained: str
    wrong: int
    grown: int


def _frozen(folder: Path) -> _Frozen:
    """The broker is suspended with everything open, longer than the keepalive, and goes on."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud:
        moving = Moving(cloud, 10)
        with running_bridge(configure(folder, broker, cloud, 10, mqtt={"keepalive": 5})) as bridge:
            with Observer(broker.port) as before:
                wait_until_up(before, *range(10))
            memory = resident_memory(bridge.pid)
            broker.freeze()
            bridge.wait_for_line("lost the broker", 20)
            bridge.wait_for_line("the broker cannot be reached", 20)
            broker.thaw()
            thawed = time.monotonic()
            bridge.wait_for_line("connected to the broker.*after|after.*connected to the broker", 20)
            # Attempts of before are seen by the broker only now; their wills would be due 5 s later.
            sleep_until(thawed + 8)
            moving.stands = True
            with Observer(broker.port) as seen:
                seen.wait_for(AVAILABILITY, "online", timeout=20)
                seen.wait(lambda: moving.truth().items() <= seen.latest.items())
                retained = seen.retained
            lines = [(entry["level"], entry["message"]) for entry in log_entries(bridge) if entry["level"] != "debug"]
            wrong = sum(retained.get(topic) != value for topic, value in moving.truth().items())
            return _Frozen(lines, retained[AVAILABILITY], wrong, resident_memory(bridge.pid) - memory)


def test_a_frozen_broker_is_given_up_and_taken_up_again(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: what waited in its sockets while it was frozen (attempts, wills) does no harm afterwards."""
    seen = _frozen(tmp_path)
    assert seen.retained == "online"
    assert seen.wrong == 0
    assert seen.grown < 10_000_000
    assert not [line for line in seen.lines if line[0] == "error"]
    report_row(4, f"frozen broker: {seen.wrong} wrong topics, memory {seen.grown / 1e6:+.1f} MB, no error in the log")


@dataclass(frozen=True, slots=True)
class _Flapping:
    connections: list[float]
    errors: list[str]
    back: float
    lines: list[str]


def _flapping(folder: Path) -> _Flapping:
    """Each connection is cut half a second after it came, for 15 s."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Proxy(broker.port) as proxy:
        moving = Moving(cloud, 1)
        with running_bridge(configure(folder, proxy, cloud, log={"level": "info"})) as bridge:
            bridge.wait_for_line("connected to the broker", 30)
            proxy.cut(new_after=0.5)
            began = time.monotonic()
            sleep_until(began + 15)
            connections = [at - began for at in proxy.connections]
            proxy.restore()
            calm = time.monotonic()
            moving.stands = True
            with Observer(broker.port) as seen:
                seen.wait(lambda: moving.truth().items() <= seen.latest.items(), timeout=60)
                back = time.monotonic() - calm
            errors = [entry["message"] for entry in log_entries(bridge) if entry["level"] == "error"]
            return _Flapping(connections, errors, back, [entry["message"] for entry in log_entries(bridge)])


def test_reconnecting_survives_flapping(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 18: connections that do not last are made less and less often, and said once."""
    seen = _flapping(tmp_path)
    assert len(seen.connections) <= 6
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen.connections[1:])]
    assert gaps == sorted(gaps)
    assert len(seen.errors) == 1
    assert seen.back < 32
    assert len(seen.lines) < 12, seen.lines
    report_row(18, f"flapping: {len(seen.connections)} connections in 15 s, 1 error line, back after {seen.back:.1f} s")


def _bad_weather(folder: Path) -> str:
    with broker_cloud_observer(folder) as (broker, cloud, observer), Proxy(broker.port) as proxy:
        cloud.answer(uuid_of(0), [{**item, "evse_uuid": uuid_of(0)} for item in status_example()])
        proxy.delay(0.05)
        proxy.drip(0.00001)
        with running_bridge(configure(folder, proxy, cloud, homeassistant={"enabled": False})) as bridge:
            wait_until_up(observer, 0)
            assert observer.latest[f"evse/{uuid_of(0)}/{PLUG}/power"] == "7107"
            assert len(proxy.connections) == 1
            bridge.stop()
        return f"slow and byte by byte: {proxy.bytes_forwarded} bytes, 1 connection"


def test_the_published_example_comes_through_bad_weather(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: a connection that is slow and comes in single bytes harms nothing."""
    report_row(4, _bad_weather(tmp_path))
