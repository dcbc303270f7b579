"""Energy and sessions of a running bridge: they survive crashes, with and without a history, and are never split."""

import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.storage.connection import utc_time
from evse_mqtt_bridge.storage.database import Database
from tests.faults.setup import (
    PLUG,
    configure,
    jumping_clock,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
)
from tests.harness import CloudServer, Mosquitto, Observer, plug_object, station_table
from tests.harness.bridge import invoke_command, run_command
from tests.harness.cloud import Request
from tests.harness.postgres import PostgreSql

_PREFIX = f"evse/{uuid_of(0)}/{PLUG}/"


class _Charger:
    """A plug that measures at each request, and knows its true energy.

    Attributes:
        status: The status that it reports.
        power: The power while it charges, in W; 72 kW are 20 Wh per second.
        ahead: Seconds by which its clock is ahead.
    """

    def __init__(self) -> None:
        self.status = "idle"
        self.power = 72_000.0
        self.ahead = 0.0
        self.measured: list[tuple[float, float]] = []
        """Time in seconds and power of each measurement."""

    def __call__(self, _request: Request) -> list[Any]:
        now = time.time() + self.ahead
        power = self.power if self.status == "charging" else 0.0
        self.measured.append((now, power))
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = {"status": self.status, "power": power, "dyn_current_limit": 125, "time": moment}
        return [plug_object(evse_uuid=uuid_of(0), plug_uuid=PLUG, **values)]

    def energy(self, until: float = inf) -> float:
        """Return the energy between the first measurement and a time in kWh, by the trapezoid rule."""
        pairs = pairwise(measured for measured in self.measured if measured[0] <= until)
        return sum((before + after) / 2 * (end - start) for (start, before), (end, after) in pairs) / 3.6e6


@pytest.fixture
def charger(cloud: CloudServer) -> _Charger:
    charger = _Charger()
    cloud.answer(uuid_of(0), charger)
    return charger


def _json(observer: Observer, field: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(observer.retained[_PREFIX + field])
    return content


def _wait_for_energy(observer: Observer, least: float) -> float:
    observer.wait(lambda: float(observer.latest.get(_PREFIX + "energy", 0)) >= least)
    return float(observer.retained[_PREFIX + "energy"])


def _wait_for_last_session(observer: Observer) -> None:
    observer.wait(lambda: json.loads(observer.latest[_PREFIX + "last_session"])["id"] is not None)


def _energy_in_history(folder: Path) -> float:
    """Return the counter of the plug in the history, in kWh."""
    database = Database(f"sqlite:///{folder}/history.sqlite")
    [meter] = database.meters({uuid_of(0)}).values()
    database.close()
    return meter.charged / 1000


def _with_numbers(folder: Path, broker: Mosquitto, cloud: CloudServer, *, heartbeat: int) -> Callable[..., Path]:
    """Return a function that writes a configuration with a history, for the stations with the given numbers."""
    history = {"enabled": True, "url": f"sqlite:///{folder}/history.sqlite"}
    cloud.answer(uuid_of(1), station_answer(1))

    def write(*numbers: int) -> Path:
        stations = [station_table(uuid_of(number)) for number in numbers]
        polling = {"interval": 1, "heartbeat": heartbeat}
        return configure(folder, broker, cloud, stations, polling=polling, history=history)

    return write


@pytest.mark.parametrize("with_history", [False, True], ids=["broker", "history"])
def test_energy_and_session_survive_kills(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger, with_history: bool
) -> None:
    history = {"enabled": with_history, "url": f"sqlite:///{tmp_path}/history.sqlite"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0}, history=history)
    reached = 0.0
    for round_number in range(3):
        with running_bridge(config) as bridge:
            if not round_number:
                observer.wait_for(_PREFIX + "status", "idle")
                charger.status = "charging"
            reached = _wait_for_energy(observer, reached + 0.04)
            bridge.kill()
    with running_bridge(config):
        _wait_for_energy(observer, reached + 0.02)
        charger.status = "idle"
        _wait_for_last_session(observer)
        observer.sync()
        session = _json(observer, "last_session")
        state = _json(observer, "state")
        assert state["energy_gap"] == session["gap"] == 0
        assert session["started_known"] is True
        assert session["energy"] == pytest.approx(state["energy"], abs=0.002)
        # Each kill loses at most the rounding to a watt-hour.
        assert state["energy"] == pytest.approx(charger.energy(), rel=0.01, abs=0.004)
    events = [
        json.loads(seen.payload)["event_type"] for seen in observer.messages_since() if seen.topic.endswith("_event")
    ]
    assert events == ["started", "charging", "ended"], "one session, which no restart splits"


def test_last_counts_are_published_before_offline(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    history = {"enabled": True, "url": f"sqlite:///{tmp_path}/history.sqlite"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 3600}, history=history)
    charger.status, charger.power = "charging", 30_000.0
    with running_bridge(config) as bridge:
        observer.wait_for(_PREFIX + "energy")
        cloud.wait_for_requests(len(cloud.requests) + 3)
        bridge.terminate()
        observer.wait_for("evse/bridge/availability", "offline")
        observer.sync()
    state = _json(observer, "state")
    first = float(observer.payloads(_PREFIX + "energy")[0])  # not 0 if the start was slow
    assert first < state["energy"]
    counted_until = datetime.fromisoformat(state["energy_time"]).timestamp() + 0.001
    assert counted_until >= charger.measured[-2][0], "all but a measurement under way is counted"
    assert float(observer.retained[_PREFIX + "energy"]) == state["energy"]
    assert state["energy"] == pytest.approx(charger.energy(counted_until), abs=0.001)
    assert state["energy"] == pytest.approx(_energy_in_history(tmp_path), abs=0.001), "the history has the same count"


def test_station_that_is_removed_leaves_its_last_counts(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    write = _with_numbers(tmp_path, broker, cloud, heartbeat=3600)
    charger.status, charger.power = "charging", 30_000.0
    with running_bridge(write(0, 1)) as bridge:
        observer.wait_for(_PREFIX + "energy")
        cloud.wait_for_requests(len(cloud.requests) + 8)
        write(1)
        bridge.send_signal(signal.SIGHUP)
        observer.wait(lambda: _PREFIX + "energy" not in observer.retained)
        measured = charger.energy(charger.measured[-2][0])
        bridge.stop()
    assert _energy_in_history(tmp_path) >= measured - 0.001


def test_broker_that_lost_its_memory_gets_the_counters(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0})
    charger.status = "charging"
    with running_bridge(config):
        reached = _wait_for_energy(observer, 0.04)
        broker.stop()
        start = observer.count
        broker.start()
        observer.wait(lambda: observer.payloads(_PREFIX + "energy", start))
        assert float(observer.retained[_PREFIX + "energy"]) >= reached


def test_history_has_the_session_and_its_energy(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    history = {"enabled": True, "url": f"sqlite:///{tmp_path}/history.sqlite", "time_zone": "Europe/Berlin"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0}, history=history)
    with running_bridge(config):
        observer.wait_for(_PREFIX + "status", "idle")
        charger.status = "charging"
        _wait_for_energy(observer, 0.04)
        charger.status = "idle"
        _wait_for_last_session(observer)
        session = _json(observer, "last_session")
    [stored] = json.loads(run_command("sessions", "--config", config, "--json").stdout)
    assert stored["energy"] == session["energy"]
    assert stored["started"] == session["started"]
    assert stored["station_name"] == "Station 0"
    [day] = json.loads(run_command("energy", "--config", config, "--by", "month", "--json").stdout)
    assert day["energy"] == pytest.approx(session["energy"], abs=0.001)


def test_last_session_before_a_kill_is_in_the_history(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    history = {"enabled": True, "url": f"sqlite:///{tmp_path}/history.sqlite"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0}, history=history)
    charger.status = "charging"
    with running_bridge(config) as bridge:
        _wait_for_energy(observer, 0.02)
        charger.status = "idle"
        _wait_for_last_session(observer)
        bridge.kill()  # before it is written
    session = _json(observer, "last_session")
    assert json.loads(invoke_command("sessions", "--config", config, "--json").stdout) == []
    with running_bridge(config):
        observer.wait_for("evse/bridge/availability", "online")
        cloud.wait_for_requests(len(cloud.requests) + 3)
    [stored] = json.loads(invoke_command("sessions", "--config", config, "--json").stdout)
    assert (stored["started"], stored["energy"]) == (session["started"], session["energy"])
    assert stored["station_name"] == "Station 0"


def _lose_records_and_database(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    charger: _Charger,
    server: PostgreSql,
) -> tuple[Path, float]:
    """Count energy, stop the database, and let the broker lose its retained messages.

    Returns:
        The configuration, and the energy that was published, in kWh.
    """
    history = {"enabled": True, "url": server.new_database()}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0}, history=history)
    charger.status = "charging"
    with running_bridge(config):
        reached = _wait_for_energy(observer, 0.04)
    server.stop()
    broker.restart()
    return config, reached


def test_counter_continues_when_the_database_answers_late(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    charger: _Charger,
    own_postgres: PostgreSql,
) -> None:
    config, reached = _lose_records_and_database(tmp_path, broker, cloud, observer, charger, own_postgres)
    seen = len(observer.messages_since())
    with running_bridge(config) as bridge:
        wait_for_event(bridge, "history_failed")
        cloud.wait_for_requests(len(cloud.requests) + 3)
        own_postgres.start()
        observer.wait(lambda: observer.payloads(_PREFIX + "energy", seen), timeout=60)
    counts = [float(payload) for payload in observer.payloads(_PREFIX + "energy", seen)]
    assert min(counts) >= reached, "the counter never goes back"


def test_sessions_while_the_database_is_away_are_kept(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    charger: _Charger,
    own_postgres: PostgreSql,
) -> None:
    """The broker has no record either, so the meters wait: a session ends meanwhile, and another begins and ends."""
    config, reached = _lose_records_and_database(tmp_path, broker, cloud, observer, charger, own_postgres)
    seen = len(observer.messages_since())
    with running_bridge(config) as bridge:
        wait_for_event(bridge, "history_failed")
        for status in ("charging", "idle", "charging", "idle"):
            charger.status = status
            cloud.wait_for_requests(len(cloud.requests) + 3)
        assert not observer.payloads(_PREFIX + "energy", seen), "no counter that could be too low"
        own_postgres.start()
        observer.wait(lambda: observer.payloads(_PREFIX + "energy", seen), timeout=60)
        observer.wait(lambda: len(observer.payloads(_PREFIX + "session_event", seen)) == 3)
    events = [json.loads(payload)["event_type"] for payload in observer.payloads(_PREFIX + "session_event", seen)]
    assert events == ["ended", "started", "ended"]
    state, last = _json(observer, "state"), _json(observer, "last_session")
    stored = json.loads(invoke_command("sessions", "--config", config, "--json").stdout)
    first, second = sorted(stored, key=lambda session: str(session["started"]))
    assert (second["started"], second["energy"]) == (last["started"], last["energy"])
    assert first["energy"] > reached
    assert first["energy"] + second["energy"] == pytest.approx(state["energy"], abs=0.002)
    assert state["energy"] == pytest.approx(charger.energy(), rel=0.01, abs=0.004)
    assert state["energy_gap"] == 0
    [month] = json.loads(invoke_command("energy", "--config", config, "--by", "month", "--json").stdout)
    assert month["energy"] == pytest.approx(state["energy"], abs=0.001)


def test_station_that_is_added_again_continues_from_the_history(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    write = _with_numbers(tmp_path, broker, cloud, heartbeat=0)
    charger.status = "charging"
    with running_bridge(write(0, 1)) as bridge:
        reached = _wait_for_energy(observer, 0.04)
        write(1)
        bridge.send_signal(signal.SIGHUP)
        observer.wait(lambda: _PREFIX + "energy" not in observer.retained)
    with running_bridge(tmp_path / "config.toml") as bridge:
        observer.wait_for("evse/bridge/availability", "online")
        write(0, 1)
        bridge.send_signal(signal.SIGHUP)
        observer.wait_for(_PREFIX + "energy")
        assert float(observer.retained[_PREFIX + "energy"]) >= reached


def test_history_that_a_reload_enables_begins_with_the_reload(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    """The energy of the repeated responses before it, which were not evaluated yet, does not count in the history."""

    def write(*, is_enabled: bool) -> Path:
        history = {"enabled": is_enabled, "url": f"sqlite:///{tmp_path}/history.sqlite"}
        return configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 3600}, history=history)

    charger.status = "charging"
    with running_bridge(write(is_enabled=False)) as bridge:
        observer.wait_for(_PREFIX + "energy")
        cloud.wait_for_requests(len(cloud.requests) + 8)
        before = charger.energy(charger.measured[-2][0])
        config = write(is_enabled=True)
        bridge.send_signal(signal.SIGHUP)
        wait_for_event(bridge, "configuration_applied")
        cloud.wait_for_requests(len(cloud.requests) + 3)
        bridge.stop()
    [month] = json.loads(invoke_command("energy", "--config", config, "--by", "month", "--json").stdout)
    assert 0 < month["energy"] <= charger.energy() - before + 0.001


def test_unusable_history_is_logged_and_disturbs_nothing(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    (tmp_path / "file").touch()
    history = {"enabled": True, "url": f"sqlite:///{tmp_path}/file/history.sqlite"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 0}, history=history)
    charger.status = "charging"
    with running_bridge(config) as bridge:
        _wait_for_energy(observer, 0.02)
        bridge.terminate()
        assert bridge.wait() == 0
    [entry] = log_entries(bridge, "history_failed", level="warning")
    assert "file/history.sqlite" in entry["detail"]


def test_hour_of_the_history_has_its_last_message(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charger: _Charger
) -> None:
    """Programs that record the topics cut the hours at the last message before their end."""
    env, jump = jumping_clock(tmp_path)
    history = {"enabled": True, "url": f"sqlite:///{tmp_path}/history.sqlite"}
    config = configure(tmp_path, broker, cloud, 1, polling={"interval": 1, "heartbeat": 3600}, history=history)
    with running_bridge(config, env=env) as bridge:
        observer.wait_for(_PREFIX + "status", "idle")
        polls = len(cloud.wait_for_requests(len(cloud.requests) + 2))
        # The hour ends in the middle between two polls, before a step of energy is published.
        charger.ahead = 3600 - (charger.measured[-1][0] + 12.5) % 3600
        jump.write_text(str(charger.ahead))
        end = datetime.fromtimestamp(charger.measured[-1][0] + charger.ahead + 12.5, UTC)
        charger.status = "charging"
        cloud.wait_for_requests(polls + 16)
        bridge.stop()
    observer.sync()
    states = [json.loads(payload) for payload in observer.payloads(_PREFIX + "state")]
    counted = [state for state in states if state["energy_time"] and datetime.fromisoformat(state["energy_time"]) < end]
    database = Database(f"sqlite:///{tmp_path}/history.sqlite")
    with database.reading() as connection:
        charged = {utc_time(hour): energy for hour, energy in connection.query("SELECT hour, charged FROM readings")}
    database.close()
    assert charged[end] > 100
    assert counted[-1]["energy"] == pytest.approx(charged[end] / 1000, abs=0.001)
    assert charged[end + timedelta(hours=1)] > charged[end]
