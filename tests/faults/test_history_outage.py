"""Rows 22 to 24 of the fault contract: the history on a full disk, on a stopped server, and in a damaged file."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.setup import (
    PLUG,
    ReportRow,
    configure,
    log_entries,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
)
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.bridge import run_command
from tests.harness.postgres import PostgreSql

_PREFIX = f"evse/{uuid_of(0)}/{PLUG}/"
_SESSIONS = 3

Charge = Callable[[], None]


@pytest.fixture
def charge(cloud: CloudServer, observer: Observer) -> Charge:
    """A function that lets a vehicle come and go."""
    cloud.answer(uuid_of(0), station_answer(0, status="idle", power=0.0))

    def session() -> None:
        last = observer.retained.get(_PREFIX + "last_session")
        second = len(cloud.requests) * 10
        for status, power in (("charging", 36_000.0), ("idle", 0.0)):
            second += 10
            time = f"2026-03-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
            cloud.answer(uuid_of(0), station_answer(0, status=status, power=power, dyn_current_limit=125, time=time))
            observer.wait_for(_PREFIX + "status", status)
        observer.wait(lambda: observer.retained[_PREFIX + "last_session"] != last)

    return session


def _configure(folder: Path, broker: Mosquitto, cloud: CloudServer, url: str) -> Path:
    return configure(folder, broker, cloud, 1, history={"enabled": True, "url": url})


def _stored(config: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        run_command("sessions", "--config", config, "--since", "2026-01", "--json").stdout
    )
    return rows


def _charge_during_the_outage(bridge: BridgeProcess, charge: Charge, end_outage: Callable[[], None]) -> str:
    """Let vehicles charge while the history cannot be written; return the reason in the log."""
    wait_for_event(bridge, "history_failed")
    for _ in range(_SESSIONS):
        charge()
    end_outage()
    wait_for_event(bridge, "history_restored", timeout=90)
    [entry] = log_entries(bridge, "history_failed", level="warning")
    return str(entry["detail"])


@contextmanager
def _full_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system, with a file that fills it."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted")
    try:
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
def test_full_disk_loses_no_session(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, charge: Charge, report_row: ReportRow
) -> None:
    """Row 22: sessions wait until there is space again; the counters are not affected."""
    with _full_disk(tmp_path / "disk") as disk:
        config = _configure(tmp_path, broker, cloud, f"sqlite:///{disk}/history.sqlite")
        with running_bridge(config) as bridge:
            reason = _charge_during_the_outage(bridge, charge, (disk / "filler").unlink)
        assert len(_stored(config)) == _SESSIONS
    assert "full" in reason or "disk" in reason
    report_row(22, f"{_SESSIONS} sessions on a full disk, all stored: {reason.replace(str(tmp_path), '')}")


def test_stopped_server_loses_no_session(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    charge: Charge,
    own_postgres: PostgreSql,
    report_row: ReportRow,
) -> None:
    """Row 23: the same while PostgreSQL is stopped."""
    config = _configure(tmp_path, broker, cloud, own_postgres.new_database())
    with running_bridge(config):
        observer.wait_for(_PREFIX + "energy")
    own_postgres.stop()
    with running_bridge(config) as bridge:
        reason = _charge_during_the_outage(bridge, charge, own_postgres.start)
    assert len(_stored(config)) == _SESSIONS
    report_row(23, f"{_SESSIONS} sessions while the server is stopped, all stored: {reason}")


def test_damaged_file_is_set_aside_while_running(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, charge: Charge, report_row: ReportRow
) -> None:
    """Row 24: the file is renamed, a new one takes its place, and the counters continue from the broker."""
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"This is not a database. " * 1000)
    config = _configure(tmp_path, broker, cloud, f"sqlite:///{path}")
    with running_bridge(config) as bridge:
        wait_for_event(bridge, "history_restored")
        observer.wait_for(_PREFIX + "status", "idle")
        charge()
        [entry] = log_entries(bridge, "history_failed", level="warning")
    assert Path(entry["set_aside"]).read_bytes().startswith(b"This is not")
    assert len(_stored(config)) == 1
    report_row(24, f"set aside as {Path(entry['set_aside']).name}")


def test_unreadable_history_is_reported_by_the_commands(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, report_row: ReportRow
) -> None:
    """Row 24: `sessions` and `energy` name the file and the reason, and exit with 69."""
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"This is not a database. " * 1000)
    config = _configure(tmp_path, broker, cloud, f"sqlite:///{path}")
    for command in ("sessions", "energy"):
        result = run_command(command, "--config", config)
        assert result.returncode == 69  # EX_UNAVAILABLE
        assert str(path) in result.stderr
        assert "file is not a database" in result.stderr
        assert "Traceback" not in result.stderr
        report_row(24, f"{command}: {result.stderr.strip().replace(str(tmp_path), '')}")
    assert path.exists(), "a command never renames it"
