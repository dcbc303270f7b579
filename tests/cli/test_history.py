"""The commands `sessions` and `energy`: what they print if the history has nothing, or something, for the period."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evse_mqtt_bridge.cli.actions.history import list_sessions, sum_energy
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, SessionRecord
from evse_mqtt_bridge.support.errors import ConfigError

_PLUG = Plug("s1", "p1")
_HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose history is empty."""
    url = f"sqlite:///{tmp_path}/history.sqlite"
    Database(url).close()
    path = tmp_path / "config.toml"
    path.write_text(f'[mqtt]\nhost = "localhost"\n[history]\nurl = "{url}"\ntime_zone = "Europe/Berlin"\n')
    return path


def _fill(config: Path) -> None:
    database = Database(f"sqlite:///{config.parent}/history.sqlite")
    session = Session(_HOUR, is_start_known=True, charged=1500.0, ended=_HOUR + timedelta(minutes=20), peak=7000.0)
    readings = [ReadingRecord(_PLUG, _HOUR + timedelta(hours=number), 1500.0 * number, 0.0, 0.0) for number in (0, 1)]
    database.write([*readings, SessionRecord(_PLUG, session)], {_PLUG: ("Garage", "Left")})
    database.close()


def _show(config: Path, since: str | None = None) -> None:
    sum_energy(config, by="day", since=since, until=None, station=None, output="text")
    list_sessions(config, since=since, until=None, station=None, output="text")


def test_empty_history_is_explained(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _show(config)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        f"{nothing} in this period: the history is still empty; the bridge writes it every 30 s while it counts. "
        "What the counters of the topics had before is not in it."
        for nothing in ("no energy was counted", "no session ended")
    ]


def test_period_before_the_history_names_its_beginning(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(config)
    _show(config)  # the last 30 days
    shown = capsys.readouterr()
    assert "no energy was counted in this period: the history begins at 2026-03-01 12:00." in shown.err


def test_rows_of_a_period_are_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fill(config)
    _show(config, since="2026-03")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert [line.split() for line in shown.out.splitlines()] == [
        ["DAY", "CHARGED", "DISCHARGED", "GAP"],
        ["2026-03-01", "1.50", "kWh", "0.00", "kWh", "-"],
        ["STARTED", "DURATION", "STATION", "PLUG", "ENERGY", "PEAK", "GAP"],
        ["2026-03-01", "13:00", "20", "min", "Garage", "Left", "1.50", "kWh", "7.0", "kW", "-"],
    ]


@pytest.mark.parametrize("zone", ["CET-1CEST,M3.5.0,M10.5.0/3", "MEZ"])
def test_unknown_zone_of_the_machine_names_the_setting(
    config: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    config.write_text(config.read_text().replace('time_zone = "Europe/Berlin"\n', ""))
    monkeypatch.setattr("tzlocal.unix._cache_tz", None)
    monkeypatch.setenv("TZ", zone)
    with pytest.raises(ConfigError, match=r"^history\.time_zone: .*TZ"):
        _show(config)
