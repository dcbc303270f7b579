"""`watch` in a window: it redraws, fits, goes on through a bridge that goes, and leaves the terminal as it was."""

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from evse_mqtt_bridge.cli.watch import frame
from evse_mqtt_bridge.domain.model import Reason
from tests.cli.snapshots import picture, plug, served, station
from tests.cli.window import ALTERNATE_OFF, ALTERNATE_ON, CURSOR_OFF, CURSOR_ON, Window
from tests.harness import CloudServer, Mosquitto, config_tables, free_port, run_command, write_config
from tests.harness.bridge import BridgeProcess
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.net import HOST

_PAIRS = ((ALTERNATE_ON, ALTERNATE_OFF), (CURSOR_OFF, CURSOR_ON))
_MANY = tuple(station(f"Station {number}", plug("A", status="idle"), plug("B")) for number in range(150))


def _is_restored(window: Window) -> bool:
    """Whether it went back to where it came from, and shows its cursor again."""
    return all(window.raw.rindex(off) < window.raw.rindex(on) for off, on in _PAIRS)


def test_it_redraws_and_ends_with_ctrl_c() -> None:
    with served(station("Yard", plug())) as shown, Window("watch", "--url", shown.url) as window:
        window.wait_for_frame("Yard, Plug 1 +charging +7107 W")
        shown.show(picture(station("Yard", plug(status="error", power=0.0))))
        window.wait_for_frame("Yard, Plug 1 +error +0 W")
        window.press("\x03")
        assert window.wait() == 0
    assert _is_restored(window)
    assert "Traceback" not in window.raw


def test_a_service_manager_ends_it_as_cleanly() -> None:
    with served(station("Yard", plug())) as shown, Window("watch", "--url", shown.url) as window:
        window.wait_for_frame("Yard")
        window.terminate()
        assert window.wait() == 0
    assert _is_restored(window)


def test_it_fits_the_window_and_follows_its_size() -> None:
    with served(*_MANY) as shown, Window("watch", "--url", shown.url, columns=80, lines=24) as window:
        first = window.wait_for_frame(r"and \d+ more")
        assert len(first.splitlines()) == 24
        drawn = len(window.frames)
        window.resize(100, 40)
        second = window.wait_for_frame(r"and \d+ more(.*\n){2,}", since=drawn + 1)
        assert len(second.splitlines()) == 40
        window.press("\x03")
        assert window.wait() == 0


def test_a_bridge_that_is_not_there_yet_is_waited_for() -> None:
    port = free_port()
    with Window("watch", "--url", f"http://{HOST}:{port}", columns=160) as window:
        window.wait_for_frame("no bridge answers: .*refused.*trying on")
        window.press("\x03")
        assert window.wait() == 0


def test_it_survives_a_restart_of_the_bridge(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    http = {"enabled": True, "port": free_port()}
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, polling={"stale_after": 0}, http=http))
    with BridgeProcess.run(config) as bridge, Window("watch", "--config", config, columns=160) as window:
        window.wait_for_frame("Plug 2 +charging +7107 W")
        bridge.stop()
        gone = window.wait_for_frame(r"this is from .* ago: .*no bridge answers", since=len(window.frames))
        assert "7107 W" in gone  # what it showed last stays
        with BridgeProcess.run(config):
            drawn = len(window.frames)
            back = window.wait_for_frame(r"\A(?![^\n]*no bridge)(.|\n)*charging +7107 W", since=drawn)
            assert "running for" in back
            window.press("\x03")
            assert window.wait() == 0
    assert _is_restored(window)


def test_a_bridge_of_another_version_is_told() -> None:
    with served() as shown:
        shown.body = b'{"bridge": {"version": "9.9.9"}}'
        with Window("watch", "--url", shown.url, columns=160) as window:
            window.wait_for_frame(r"the bridge there is version 9\.9\.9, and this command, .* cannot read it")


def test_named_stations_alone_are_watched() -> None:
    with served(*_MANY) as shown, Window("watch", "--url", shown.url, "station 7") as window:
        seen = window.wait_for_frame("Station 7")
        assert "Station 8" not in seen
        shown.show(picture())  # it was removed meanwhile
        window.wait_for_frame(r"0 of 0 online(?!(.|\n)*Station 7)")
        window.press("\x03")
        assert window.wait() == 0


def test_a_name_that_is_not_there_is_told_on_the_terminal_as_it_was() -> None:
    with served(*_MANY) as shown, Window("watch", "--url", shown.url, "Station x") as window:
        assert window.wait() == 2
    assert "no station 'Station x'" in window.raw[window.raw.rindex(ALTERNATE_OFF) :]


def test_without_a_terminal_it_points_to_status() -> None:
    result = run_command("watch", "--url", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert "evse-mqtt-bridge status" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize("height", [1, 3, 10, 24, 1000])
def test_a_frame_is_never_larger_than_the_window(width: int, height: int) -> None:
    shown = picture(
        *(station(f"Wallbox in 日本 {number}", plug("A" * 64), plug(status="x" * 64)) for number in range(30)),
        station("Away", reason=Reason.UNREACHABLE, error="e" * 500, error_at=picture().at),
    )
    lines = frame(shown, shown, width, height, "trouble " * 40)
    assert len(lines) <= height
    assert max(cell_len(line.plain) for line in lines) <= width


def test_a_frame_has_what_is_unavailable_first() -> None:
    shown = picture(*_MANY, station("Away", plug(reason=Reason.STALE)))
    text = "\n".join(line.plain for line in frame(shown, shown, 160, 24))
    assert re.search(r"AVAILABILITY\nAway .*too old.*\nStation 0 +B +charging", text)
