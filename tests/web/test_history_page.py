"""Energy and sessions on the status page, in a browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.storage.records import Plug
from tests.web.browser import WINDOW_SIZES, BrowserPage, chromium
from tests.web.history_samples import history_settings, write_history
from tests.web.served_bridge import ServerThread, StubBridge, minutes_ago, reading, station, utc_now
from tests.web.test_browser import HOSTILE

_PLUG = Plug(station(1).uuid, "0f" * 16)
_HISTORY = "History of Station 1, Left"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def history(tmp_path: Path) -> History:
    return history_settings(tmp_path)


def _bridge(history: History | None, name: str = "Station 1", label: str = "Left") -> StubBridge:
    bridge = StubBridge([station(1, name=name)], energy_history=history)
    bridge.start_meters()
    for minutes in (3, 2):
        bridge.poll(_PLUG.station, reading(power=6_000.0, label=label, time=minutes_ago(minutes)))
    return bridge


@contextmanager
def _page(
    browser: Browser, bridge: StubBridge, size: tuple[int, int] = WINDOW_SIZES["desktop"], zone: str = "UTC"
) -> Iterator[BrowserPage]:
    with (
        ServerThread(bridge) as server,
        BrowserPage(browser, server.url, size, timezone_id=zone, accept_downloads=True) as browser_page,
    ):
        expect(browser_page.page.locator("#live-text")).to_have_text("live")
        yield browser_page


def _open(page: Page, name: str = _HISTORY) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_plug_history_shows_bars_and_sessions(browser: Browser, history: History) -> None:
    now = utc_now()
    write_history(history, _PLUG, 40, now)
    with _page(browser, _bridge(history), zone="Asia/Kolkata") as browser_page:
        page = browser_page.page
        expect(page.locator("#energy-today")).to_have_text("10.0 kWh")
        sessions = (now.day + 1) // 2
        expect(page.locator("#energy-month")).to_have_text(f"{10 * sessions}.0 kWh")
        _open(page)
        panel = page.get_by_role("region", name=_HISTORY)
        bars = panel.get_by_role("img")
        label = re.compile("energy of each of the last 30 days: 150.0 kWh, highest 10.0 kWh on .+")
        expect(bars).to_have_attribute("aria-label", label)
        heights = [float(bar.get_attribute("height") or "") for bar in bars.locator(".bar").all()]
        assert heights == [0.0, 58.0] * 15
        expect(panel).to_contain_text("Days of UTC.")
        rows = panel.locator("tbody tr")
        expect(rows).to_have_count(10)
        # 08:00 in UTC
        expect(rows.nth(0)).to_contain_text("before ")
        expect(rows.nth(1)).to_have_text(re.compile("13:30.*2 h.*10.0 kWh.*unknown for 3 min.*11.0 kW"))


def test_station_history_shows_months(browser: Browser, history: History) -> None:
    now = utc_now()
    write_history(history, _PLUG, 500, now)
    with _page(browser, _bridge(history)) as browser_page:
        page = browser_page.page
        _open(page, "History of station Station 1")
        rows = page.get_by_role("region", name="History of station Station 1").locator("tbody tr")
        expect(rows).to_have_count(12)
        expect(rows.first).to_contain_text(f"{now:%B %Y}")
        expect(rows.last).to_have_text(re.compile(r"20\d\d1[456]0.0 kWh"))


def test_downloads_contain_everything(browser: Browser, history: History) -> None:
    write_history(history, _PLUG, 100, utc_now())
    with _page(browser, _bridge(history)) as browser_page:
        page = browser_page.page
        _open(page)
        for name, lines, file in (
            ("All sessions of Station 1, Left (CSV)", 1 + 51, "evse-sessions.csv"),
            ("Energy of Station 1, Left by day (CSV)", 1 + 52, "evse-energy.csv"),
        ):
            with page.expect_download() as download:
                page.get_by_role("link", name=name).click()
            assert download.value.suggested_filename == file
            assert len(Path(download.value.path()).read_text().splitlines()) == lines


def test_plug_shows_energy_of_open_session(browser: Browser) -> None:
    with _page(browser, _bridge(None)) as browser_page:
        # 6 kW for a minute
        expect(browser_page.page.locator(".plug .heading")).to_contain_text("0.10 kWh since ")


def test_page_without_history_names_the_reason(browser: Browser) -> None:
    with _page(browser, _bridge(None)) as browser_page:
        page = browser_page.page
        expect(page.locator("#history-error")).to_be_visible()
        expect(page.locator("#history-error")).to_contain_text("history.enabled is false")
        expect(page.locator("#energy-today")).to_have_text("\N{EN DASH}")
        expect(page.get_by_role("link", name="sessions of 30 days (CSV)")).to_be_hidden()
        _open(page)
        expect(page.get_by_role("region", name=_HISTORY)).to_contain_text("history.enabled is false")


def test_page_with_failing_history_names_the_reason(browser: Browser, history: History, tmp_path: Path) -> None:
    write_history(history, _PLUG, 4, utc_now())
    with _page(browser, _bridge(history)) as browser_page:
        expect(browser_page.page.locator("#energy-today")).to_have_text("10.0 kWh")
        (tmp_path / "history.sqlite").write_bytes(b"damaged" * 1000)
        _open(browser_page.page)
        expect(browser_page.page.get_by_role("region", name=_HISTORY)).to_contain_text("the history cannot be read: ")
        assert all("503" in error for error in browser_page.errors), "the browser logs failed requests"
        browser_page.errors.clear()


def test_page_reports_failing_writes(browser: Browser, history: History) -> None:
    write_history(history, _PLUG, 4, utc_now())
    bridge = _bridge(history)
    bridge.write_error = "disk full"
    with _page(browser, bridge) as browser_page:
        expect(browser_page.page.locator("#history-error")).to_be_visible()
        expect(browser_page.page.locator("#history-error")).to_contain_text(
            "cannot be written at the moment: disk full"
        )
        expect(browser_page.page.locator("#energy-today")).to_have_text("10.0 kWh")


def test_history_shows_hostile_names_as_text(browser: Browser, history: History) -> None:
    write_history(history, _PLUG, 4, utc_now(), (HOSTILE, HOSTILE))
    with _page(browser, _bridge(history, HOSTILE[:128], HOSTILE)) as browser_page:
        page = browser_page.page
        page.locator(".plug").get_by_role("button", name="History of").click()
        expect(page.locator(".plug tbody tr")).to_have_count(3)
        assert page.locator(".history img, .history script").count() == 0
        assert "injected" not in page.title()


@pytest.mark.parametrize("size", [*WINDOW_SIZES.values(), (360, 640), (1110, 900), (1920, 1080)])
def test_history_fits_window_width(browser: Browser, history: History, size: tuple[int, int]) -> None:
    write_history(history, _PLUG, 500, utc_now() - timedelta(days=200))
    with _page(browser, _bridge(history, "A_very_long_name_without_any_space_" * 3), size) as browser_page:
        page = browser_page.page
        for button in page.get_by_role("button", name="History of").all():
            button.click()
        expect(page.locator("table")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
