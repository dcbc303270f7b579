"""`watch` in a window: refresh, size, restarts of the bridge, and restoring the terminal."""

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from evse_mqtt_bridge.cli.actions.watch import frame
from evse_mqtt_bridge.domain.model import Reason
from tests.cli.snapshots import plug, serve_snapshot, snapshot, station
from tests.cli.window import ALTERNATE_OFF, ALTERNATE_ON, CURSOR_OFF, CURSOR_ON, Window
from tests.harness import CloudServer, Mosquitto, config_tables, free_port, run_command, write_config
from tests.harness.bridge import BridgeProcess
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.net import HOST

_PAIRS = ((ALTERNATE_ON, ALTERNATE_OFF), (CURSOR_OFF, CURSOR_ON))
_MANY = tuple(station(f"Station {number}", plug("A", status="idle"), plug("B")) for number in range(150))


def _is_restored(window: Window) -> bool:
    """Return whether the main screen and the cursor are back."""
    return all(window.raw.rindex(off) < window.raw.rindex(on) for off, on in _PAIRS)


def test_watch_snapshot_changes_redraws_until_ctrl_c() -> None:
    with serve_snapshot(station("Yard", plug())) as page, Window("watch", "--url", page.url) as window:
        window.wait_for_frame("Yard, Plug 1 +charging +7107 W")
        page.serve(snapshot(station("Yard", plug(status="error", power=0.0))))
        window.wait_for_frame("Yard, Plug 1 +error +0 W")
        window.press("\x03")
        assert window.wait() == 0
    assert _is_restored(window)
    assert "Traceback" not in window.raw


def test_watch_sigterm_restores_the_terminal() -> None:
    with serve_snapshot(station("Yard", plug())) as page, Window("watch", "--url", page.url) as window:
        window.wait_for_frame("Yard")
        window.terminate()
        assert window.wait() == 0
    assert _is_restored(window)


def test_watch_window_resized_fits_the_new_size() -> None:
    with serve_snapshot(*_MANY) as page, Window("watch", "--url", page.url, columns=80, lines=24) as window:
        first = window.wait_for_frame(r"and \d+ more")
        assert len(first.splitlines()) == 24
        drawn = len(window.frames)
        window.resize(100, 40)
        second = window.wait_for_frame(r"and \d+ more(.*\n){2,}", since=drawn + 1)
        assert len(second.splitlines()) == 40
        window.press("\x03")
        assert window.wait() == 0


def test_watch_bridge_down_keeps_retrying() -> None:
    port = free_port()
    with Window("watch", "--url", f"http://{HOST}:{port}", columns=160) as window:
        window.wait_for_frame("no bridge answers: .*refused.*retrying")
        window.press("\x03")
        assert window.wait() == 0


def test_watch_bridge_restarts_resumes(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    http = {"enabled": True, "port": free_port()}
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, polling={"stale_after": 0}, http=http))
    with BridgeProcess.run(config) as bridge, Window("watch", "--config", config, columns=160) as window:
        window.wait_for_frame("Plug 2 +charging +7107 W")
        bridge.stop()
        gone = window.wait_for_frame(r"last update .* ago: .*no bridge answers", since=len(window.frames))
        assert "7107 W" in gone  # the last view stays
        with BridgeProcess.run(config):
            drawn = len(window.frames)
            back = window.wait_for_frame(r"\A(?![^\n]*no bridge)(.|\n)*charging +7107 W", since=drawn)
            assert "running for" in back
            window.press("\x03")
            assert window.wait() == 0
    assert _is_restored(window)


def test_watch_incompatible_version_is_named() -> None:
    with serve_snapshot() as page:
        page.body = b'{"bridge": {"version": "9.9.9"}}'
        with Window("watch", "--url", page.url, columns=160) as window:
            window.wait_for_frame(r"the bridge has version 9\.9\.9, which this command .* cannot read")


def test_watch_names_show_only_those_stations() -> None:
    with serve_snapshot(*_MANY) as page, Window("watch", "--url", page.url, "station 7") as window:
        seen = window.wait_for_frame("Station 7")
        assert "Station 8" not in seen
        page.serve(snapshot())  # the station was removed
        window.wait_for_frame(r"0 of 0 online(?!(.|\n)*Station 7)")
        window.press("\x03")
        assert window.wait() == 0


def test_watch_unknown_name_fails_on_the_main_screen() -> None:
    with serve_snapshot(*_MANY) as page, Window("watch", "--url", page.url, "Station x") as window:
        assert window.wait() == 2
    assert "no station 'Station x'" in window.raw[window.raw.rindex(ALTERNATE_OFF) :]


def test_watch_no_terminal_suggests_status() -> None:
    result = run_command("watch", "--url", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert "evse-mqtt-bridge status" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize("height", [1, 3, 10, 24, 1000])
def test_frame_any_size_fits_the_window(width: int, height: int) -> None:
    shown = snapshot(
        *(station(f"Wallbox in 日本 {number}", plug("A" * 64), plug(status="x" * 64)) for number in range(30)),
        station("Away", reason=Reason.UNREACHABLE, error="e" * 500, error_at=snapshot().at),
    )
    lines = frame(shown, shown, width, height, "error " * 40)
    assert len(lines) <= height
    assert max(cell_len(line.plain) for line in lines) <= width


def test_frame_unavailable_plugs_come_first() -> None:
    shown = snapshot(*_MANY, station("Away", plug(reason=Reason.STALE)))
    text = "\n".join(line.plain for line in frame(shown, shown, 160, 24))
    assert re.search(r"AVAILABILITY\nAway .*too old.*\nStation 0 +B +charging", text)
