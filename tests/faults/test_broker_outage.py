"""Rows 3 to 5 of the fault contract: the broker is unreachable, restarts empty, freezes, or the network fails."""

import itertools
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.setup import (
    AVAILABILITY,
    PLUG,
    ReportRow,
    broker_cloud_observer,
    configure,
    log_entries,
    resident_memory,
    running_bridge,
    sleep_until,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.harness import CloudServer, Mosquitto, Observer, run_command, status_example
from tests.harness.proxy import Proxy


class ChangingStations:
    """Stations whose power changes with every poll, until `frozen` is set."""

    def __init__(self, cloud: CloudServer, stations: int) -> None:
        self.frozen = False
        self.power = [0] * stations
        for number in range(stations):
            cloud.answer(uuid_of(number), lambda request: self._answer(int(request.uuid, 16)))

    def _answer(self, number: int) -> list[dict[str, object]]:
        if not self.frozen:
            self.power[number] += 1
        power = self.power[number]
        return station_answer(number, power=power, time=f"2024-03-25T{power // 60:02}:{power % 60:02}:17.851Z")

    def expected(self) -> dict[str, str]:
        """Return the payloads that the broker must retain, by topic."""
        powers = {f"evse/{uuid_of(number)}/{PLUG}/power": str(power) for number, power in enumerate(self.power)}
        times = {
            f"evse/{uuid_of(number)}/{PLUG}/time": f"2024-03-25T{power // 60:02}:{power % 60:02}:17.851Z"
            for number, power in enumerate(self.power)
        }
        return {**powers, **times, AVAILABILITY: "online"}


def test_broker_restart_without_persistence_republishes_all(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 3: discovery, state and availability are complete within 10 s of the reconnect."""
    cloud.answer(uuid_of(0), station_answer(0))
    cloud.answer(uuid_of(1), station_answer(1, status="offline"))
    with running_bridge(configure(tmp_path, broker, cloud, 2)) as bridge:
        wait_until_up(observer, 0, 1)
        observer.sync()
        before = observer.retained
        broker.kill()
        wait_for_event(bridge, "broker_connection_lost")
        broker.start()
        with Observer(broker.port) as after:
            assert not after.latest
            bridge.wait_for_line('"after": .*"event": "broker_(re)?connected"')
            began = time.monotonic()
            after.wait(lambda: after.latest == before, timeout=10, what="every retained topic")
            duration = time.monotonic() - began
            assert after.retained == before
    assert len([topic for topic in before if topic.startswith("homeassistant/")]) > 20
    report_row(3, f"{len(before)} retained topics restored {duration:.1f} s after the reconnect")


@dataclass(frozen=True, slots=True)
class _Outage:
    """The measurements after an outage of the broker.

    Attributes:
        duration: Seconds from the broker's return until everything is published.
        topics: Number of retained topics.
        wrong: Number of topics with a wrong payload, missing, or unexpected.
        most_messages: Highest number of messages on one topic.
        memory_growth: Growth of the bridge's memory in bytes.
        events: Event ids in the log.
    """

    duration: float
    topics: int
    wrong: int
    most_messages: int
    memory_growth: int
    events: list[str]


def _outage(folder: Path) -> _Outage:
    """Kill the broker for 15 s and restart it empty, with 40 stations whose values stop changing before that."""
    stations = 40
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud:
        changing = ChangingStations(cloud, stations)
        with running_bridge(configure(folder, broker, cloud, stations)) as bridge:
            with Observer(broker.port) as before:
                wait_until_up(before, *range(stations))
                before.sync()
                all_topics = before.retained.keys()
                memory = resident_memory(bridge.pid)
                start = time.monotonic()
                broker.kill()
            sleep_until(start + 12)
            changing.frozen = True
            counts = {uuid_of(number): len(cloud.requests_of(uuid_of(number))) for number in range(stations)}
            for uuid, count in counts.items():
                cloud.wait_for_requests(count + 2, uuid)
            sleep_until(start + 15)
            broker.start()
            restarted = time.monotonic()
            with Observer(broker.port) as after:
                after.wait(lambda: all_topics <= after.latest.keys(), 10, "every topic")
                after.wait_for(AVAILABILITY, "online")
                duration = time.monotonic() - restarted
                cloud.wait_for_requests(len(cloud.requests) + 2 * stations)
                after.sync()
                growth = resident_memory(bridge.pid) - memory
                expected = changing.expected()
                messages = Counter(message.topic for message in after.messages_since())
                return _Outage(
                    duration,
                    len(after.latest),
                    sum(after.latest.get(topic) != value for topic, value in expected.items())
                    + len(all_topics ^ after.latest.keys()),
                    max(count for topic, count in messages.items() if topic != "evse/bridge/marker"),
                    growth,
                    [entry["event"] for entry in log_entries(bridge) if entry["level"] != "debug"],
                )


def test_long_outage_publishes_newest_value_of_each_topic_once(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: memory stays flat; within 10 s there is one message per topic, with its own measurement time."""
    outage = _outage(tmp_path)
    assert outage.duration < 10
    assert outage.wrong == 0
    assert outage.most_messages == 1
    assert outage.memory_growth < 10_000_000
    assert outage.events.count("broker_connection_lost") == 1
    assert outage.events.count("broker_unreachable") == 1
    assert outage.events.count("broker_connected") == 2
    report_row(
        4,
        f"broker killed for 15 s, 40 stations: {outage.topics} topics, newest values, one message each, "
        f"{outage.duration:.1f} s after the restart; {outage.wrong} wrong; memory {outage.memory_growth / 1e6:+.1f} MB",
    )


def test_broker_and_cloud_unreachable_at_start_retries(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 5: the bridge logs each once, keeps retrying, and publishes as soon as both are reachable."""
    cloud.answer(uuid_of(0), station_answer(0))
    cloud.stop()
    broker.stop()
    with running_bridge(configure(tmp_path, broker, cloud)) as bridge:
        wait_for_event(bridge, "broker_still_disconnected", 30)
        wait_for_event(bridge, "station_unavailable")
        warnings = [entry["event"] for entry in log_entries(bridge) if entry["level"] in ("warning", "error")]
        assert sorted(warnings) == ["broker_unreachable", "station_unavailable"]
        broker.start()
        cloud.start()
        with Observer(broker.port) as observer:
            observer.wait_for(AVAILABILITY, "online", timeout=30)
            observer.wait_for(f"evse/{uuid_of(0)}/availability", "online", timeout=30)
            observer.wait_for(f"evse/{uuid_of(0)}/{PLUG}/power", "7107")
        wait_for_event(bridge, "station_available_again")
    report_row(
        5, f"warnings: {', '.join(warnings)}; then {log_entries(bridge, 'station_available_again')[0]['message']}"
    )


def test_invalid_configuration_at_start_exits_with_78(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 5: the error names the key and the values that it accepts."""
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhost = "localhost"\nprotocol = 5\n')
    result = run_command("run", "--config", config)
    assert result.returncode == 78
    assert result.stderr == f'{config}:3: mqtt.protocol: expected "auto", "5" or "3.1.1"\n'
    report_row(5, f"exit 78: {result.stderr.strip().removeprefix(str(tmp_path))}")


@dataclass(frozen=True, slots=True)
class _DeadPeer:
    """The measurements while the network discarded all packets.

    Attributes:
        detected: Seconds until the bridge disconnected.
        reconnected: Seconds from the end of the fault until the bridge is online.
        detail: The reason in the log.
        retained: The bridge's retained availability at the end.
    """

    detected: float
    reconnected: float
    detail: str
    retained: str


def _dead_peer(folder: Path) -> _DeadPeer:
    """Discard all packets between bridge and broker; keepalive is 5 s."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Proxy(broker.port) as proxy:
        changing = ChangingStations(cloud, 1)
        with (
            running_bridge(configure(folder, proxy, cloud, mqtt={"keepalive": 5})) as bridge,
            Observer(broker.port) as observer,
        ):
            wait_until_up(observer, 0)
            proxy.blackhole()
            began = time.monotonic()
            wait_for_event(bridge, "broker_connection_lost", 20)
            detected = time.monotonic() - began
            # The broker detects it too, by the keepalive, and publishes the will.
            observer.wait_for(AVAILABILITY, "offline", timeout=20)
            proxy.restore()
            began = time.monotonic()
            observer.wait_for(AVAILABILITY, "online", timeout=20)
            reconnected = time.monotonic() - began
            changing.frozen = True
            observer.wait(lambda: changing.expected().items() <= observer.latest.items())
            detail = log_entries(bridge, "broker_connection_lost")[0]["detail"]
            return _DeadPeer(detected, reconnected, detail, observer.retained[AVAILABILITY])


def test_dead_connection_is_detected_by_keepalive(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: the bridge disconnects within two keepalives and reconnects."""
    peer = _dead_peer(tmp_path)
    assert peer.detected < 2 * 5 + 2
    assert peer.detail == "the broker stopped answering"
    assert peer.reconnected < 16
    assert peer.retained == "online"
    report_row(
        4, f"keepalive 5 s: detected after {peer.detected:.1f} s, online {peer.reconnected:.1f} s after the fault's end"
    )


@dataclass(frozen=True, slots=True)
class _Frozen:
    """The measurements after a suspended broker resumed.

    Attributes:
        lines: Level and message of the log entries.
        retained: The bridge's retained availability.
        wrong: Number of topics with a wrong payload.
        memory_growth: Growth of the bridge's memory in bytes.
    """

    lines: list[tuple[str, str]]
    retained: str
    wrong: int
    memory_growth: int


def _frozen(folder: Path) -> _Frozen:
    """Suspend the broker with its connections open for longer than the keepalive, then resume it."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud:
        changing = ChangingStations(cloud, 10)
        with running_bridge(configure(folder, broker, cloud, 10, mqtt={"keepalive": 5})) as bridge:
            with Observer(broker.port) as before:
                wait_until_up(before, *range(10))
            memory = resident_memory(bridge.pid)
            broker.freeze()
            wait_for_event(bridge, "broker_connection_lost", 20)
            wait_for_event(bridge, "broker_unreachable", 20)
            broker.thaw()
            thawed = time.monotonic()
            bridge.wait_for_line('"after": .*"event": "broker_(re)?connected"', 20)
            # The broker now processes the connection attempts made meanwhile; their wills would be due 5 s later.
            sleep_until(thawed + 8)
            changing.frozen = True
            with Observer(broker.port) as observer:
                observer.wait_for(AVAILABILITY, "online", timeout=20)
                observer.wait(lambda: changing.expected().items() <= observer.latest.items())
                retained = observer.retained
            lines = [(entry["level"], entry["message"]) for entry in log_entries(bridge) if entry["level"] != "debug"]
            wrong = sum(retained.get(topic) != value for topic, value in changing.expected().items())
            return _Frozen(lines, retained[AVAILABILITY], wrong, resident_memory(bridge.pid) - memory)


def test_frozen_broker_is_disconnected_and_reconnected(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: the connection attempts and wills queued in its sockets meanwhile do no harm."""
    frozen = _frozen(tmp_path)
    assert frozen.retained == "online"
    assert frozen.wrong == 0
    assert frozen.memory_growth < 10_000_000
    assert not [line for line in frozen.lines if line[0] == "error"]
    report_row(
        4, f"frozen broker: {frozen.wrong} wrong topics, memory {frozen.memory_growth / 1e6:+.1f} MB, no error logged"
    )


@dataclass(frozen=True, slots=True)
class _Flapping:
    """The measurements with a flapping network.

    Attributes:
        connections: When connections were made, in seconds from the start of the fault.
        errors: Messages of log entries with level error.
        recovery: Seconds from the end of the fault until everything is published.
        lines: Messages of all log entries.
    """

    connections: list[float]
    errors: list[str]
    recovery: float
    lines: list[str]


def _flapping(folder: Path) -> _Flapping:
    """Reset each connection half a second after it was made, for 15 s."""
    with Mosquitto(folder / "broker") as broker, CloudServer() as cloud, Proxy(broker.port) as proxy:
        changing = ChangingStations(cloud, 1)
        with running_bridge(configure(folder, proxy, cloud, log={"level": "info"})) as bridge:
            wait_for_event(bridge, "broker_connected", 30)
            proxy.cut(new_after=0.5)
            began = time.monotonic()
            sleep_until(began + 15)
            connections = [at - began for at in proxy.connections]
            proxy.restore()
            restored = time.monotonic()
            changing.frozen = True
            with Observer(broker.port) as observer:
                observer.wait(lambda: changing.expected().items() <= observer.latest.items(), timeout=60)
                recovery = time.monotonic() - restored
            errors = [entry["message"] for entry in log_entries(bridge) if entry["level"] == "error"]
            return _Flapping(connections, errors, recovery, [entry["message"] for entry in log_entries(bridge)])


def test_flapping_connection_backs_off_and_logs_one_error(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 18: the waits between connections that do not last grow."""
    flapping = _flapping(tmp_path)
    assert len(flapping.connections) <= 6
    gaps = [later - earlier for earlier, later in itertools.pairwise(flapping.connections[1:])]
    assert gaps == sorted(gaps)
    assert len(flapping.errors) == 1
    assert flapping.recovery < 32
    assert len(flapping.lines) < 12, flapping.lines
    report_row(
        18,
        f"flapping: {len(flapping.connections)} connections in 15 s, 1 error logged, "
        f"recovered after {flapping.recovery:.1f} s",
    )


def _slow_network(folder: Path) -> str:
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


def test_slow_network_publishes_the_vendor_example(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 4: the connection is delayed and delivers single bytes."""
    report_row(4, _slow_network(tmp_path))
