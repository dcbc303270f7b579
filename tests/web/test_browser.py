"""The status page in a browser."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.observability.fleet_snapshot import FleetMemberSnapshot, FleetSnapshot
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS
from evse_mqtt_bridge.observability.snapshot import BrokerSnapshot, Health
from evse_mqtt_bridge.web import feed
from tests.web.browser import WINDOW_SIZES, BrowserPage, chromium
from tests.web.served_bridge import ServerThread, StubBridge, minutes_ago, reading, station, utc_now

HOSTILE = "<img src=x onerror=\"document.title='injected'\"><script>document.title='injected'</script>"
DESKTOP = WINDOW_SIZES["desktop"]

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _fast_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send changes eight times as often as in production."""
    monkeypatch.setattr(feed, "FRAME_INTERVAL", 0.25)


@pytest.fixture
def bridge() -> StubBridge:
    """Return a bridge with stations that are charging, unreachable, offline in the cloud, and not polled yet."""
    bridge = StubBridge([station(number) for number in range(1, 5)], started=minutes_ago(90))
    one, two, three, _ = bridge.plan.stations
    for minutes, power in ((70, 0.0), (50, 11040.0), (20, 3680.0), (0, 3680.0)):
        bridge.poll(one, reading(power=power, time=minutes_ago(minutes)), minutes_ago(minutes))
    bridge.poll(two, reading("idle", 0.0, time=minutes_ago(40)), minutes_ago(40))
    for minutes in (30, 20, 10):
        bridge.poll(two, Failure(Reason.UNREACHABLE, "connection refused"), minutes_ago(minutes))
    bridge.poll(three, reading("cloud_offline", time=minutes_ago(61)))
    return bridge


@pytest.fixture
def server(bridge: StubBridge) -> Iterator[ServerThread]:
    with ServerThread(bridge) as server:
        yield server


@pytest.fixture
def open_page(browser: Browser, server: ServerThread) -> Iterator[OpenPage]:
    """Return a function that opens the page and waits until it is live."""
    opened: list[BrowserPage] = []

    def open_page(size: tuple[int, int] = DESKTOP, address: str = "", script: str = "", **options: Any) -> Page:  # noqa: ANN401  # passed to playwright
        browser_page = BrowserPage(browser, server.url + address, size, script, **options)
        browser_page.__enter__()
        opened.append(browser_page)
        expect(browser_page.page.locator("#live-text")).to_have_text("live")
        return browser_page.page

    yield open_page
    for browser_page in opened:
        browser_page.__exit__(None, None, None)


def _card(page: Page, name: str) -> Any:  # noqa: ANN401  # a playwright Locator
    return page.locator(".station").filter(has=page.get_by_role("heading", name=name, exact=True))


# Content


def test_page_shows_stations_and_totals(open_page: OpenPage) -> None:
    page = open_page()
    one = _card(page, "Station 1")
    expect(one).to_contain_text("online")
    expect(one.locator(".plug")).to_contain_text("Left")
    expect(one.locator(".plug .state")).to_have_text("charging")
    values = dict(zip(one.locator("dt").all_inner_texts(), one.locator("dd").all_inner_texts(), strict=True))
    assert values.pop("Measured").endswith(" s ago")
    assert values == {"Power": "3.7 kW", "L1": "10.3 A", "L2": "10.3 A", "L3": "10.3 A", "Limit": "12 A"}

    two = _card(page, "Station 2")
    expect(two).to_contain_text(re.compile(rf"Unavailable since .+ \(10 min\): {REASON_TEXTS[Reason.UNREACHABLE]}"))
    expect(two).to_contain_text(
        re.compile(r"3 polls in a row failed. Last error .+ \(10 min ago\): connection refused")
    )
    three = _card(page, "Station 3")
    expect(three.locator(".plug")).to_contain_text(
        re.compile(rf"Unavailable since .+: {REASON_TEXTS[Reason.CLOUD_OFFLINE]}")
    )
    expect(three.locator(".age")).to_contain_text("61 min ago")
    expect(_card(page, "Station 4")).to_contain_text("not polled yet")

    expect(page.locator("#broker")).to_contain_text("connected")
    expect(page.locator("#broker")).to_contain_text("broker.example:1883")
    expect(page.locator("#total-power")).to_have_text("3.7 kW")
    expect(page.locator("#total-charging")).to_have_text("1 of 4")
    expect(page.locator("#total-unavailable")).to_have_text("2 of 4")
    expect(page).to_have_title("2 unavailable · evse-mqtt-bridge")


def test_sparkline_shows_power_with_gaps(open_page: OpenPage) -> None:
    page = open_page()
    sparkline = _card(page, "Station 1").get_by_role("img")
    expect(sparkline).to_have_attribute("aria-label", "power over the last hour: now 3.7 kW, highest 11.0 kW")
    path = sparkline.locator(".curve").get_attribute("d") or ""
    assert re.fullmatch(r"M0\.0 28\.0H(18|19|20)\.\dV2\.0H(78|79|80)\.\dV19\.3H120\.0", path), path  # to the minute
    other = _card(page, "Station 2").get_by_role("img")
    expect(other).to_have_attribute("aria-label", "power over the last hour: now unknown, highest 0 W")
    assert "H120.0" not in (other.locator(".curve").get_attribute("d") or "")


def test_page_shows_health_messages(open_page: OpenPage, server: ServerThread) -> None:
    page = open_page()
    expect(page.locator("#messages")).to_be_hidden()

    def fail(bridge: StubBridge) -> None:
        bridge.broker = BrokerSnapshot("broker.example:1883", False, utc_now(), "connection refused")  # noqa: FBT003  # connected
        bridge.current_health = Health(
            healthy=False, ready=False, messages=("polling is stuck", "no connection to the broker")
        )

    server.call(fail)
    expect(page.locator("#messages li")).to_have_text(["polling is stuck", "no connection to the broker"])
    expect(page.locator("#bridge")).to_contain_text("stuck")
    expect(page.locator("#broker")).to_contain_text("not connected")


def test_page_shows_the_fleet_with_links(open_page: OpenPage, server: ServerThread) -> None:
    page = open_page()
    expect(page.locator("#fleet")).to_be_hidden()
    other = FleetMemberSnapshot("m2", "draining", (), "0.2.0", "http://m2.example:9480/")
    members = (FleetMemberSnapshot("m1", "running", (0, 1), "0.2.0", ""), other)
    fleet = FleetSnapshot("etcd", "m1", 2, (0, 1), connected=True, members=members)

    def show(bridge: StubBridge, shown: FleetSnapshot) -> None:
        bridge.fleet = shown

    server.call(lambda bridge: show(bridge, fleet))
    expect(page.locator("#fleet")).to_contain_text("working")
    expect(page.locator("#fleet")).to_contain_text("m1, 2 of 2 shards here; members: m1 (2), m2 (0, draining)")
    expect(page.locator("#members a")).to_have_attribute("href", "http://m2.example:9480/")
    server.call(lambda bridge: show(bridge, replace(fleet, connected=False)))
    expect(page.locator("#fleet")).to_contain_text("etcd does not answer")


def test_page_shows_hostile_names_as_text(browser: Browser) -> None:
    bridge = StubBridge([station(1, name=HOSTILE[:128])])
    bridge.poll(station(1).uuid, reading(label=HOSTILE, status=HOSTILE))
    bridge.poll(station(1).uuid, Failure(Reason.INVALID_RESPONSE, HOSTILE))
    with ServerThread(bridge) as server, BrowserPage(browser, server.url, DESKTOP) as browser_page:
        page = browser_page.page
        expect(page.locator("h3")).to_have_text(HOSTILE[:128])
        expect(page.locator("h4")).to_have_text(HOSTILE)
        expect(page.locator(".message").filter(has_text="Last error")).to_contain_text(HOSTILE)
        page.locator(".plug").get_by_role("button", name="Topics of").click()
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert "injected" not in page.title()


# Live updates


def test_page_updates_without_reload(open_page: OpenPage, server: ServerThread) -> None:
    page = open_page()
    page.evaluate("window.notReloaded = true")
    power = _card(page, "Station 1").locator(".power dd")
    expect(power).to_have_text("3.7 kW")
    server.call(lambda bridge: bridge.poll(station(1).uuid, reading(power=22080.0)))
    expect(power).to_have_text("22.1 kW")
    expect(page.locator("#total-power")).to_have_text("22.1 kW")
    expect(_card(page, "Station 1").get_by_role("img")).to_have_attribute(
        "aria-label", "power over the last hour: now 22.1 kW, highest 22.1 kW"
    )
    server.call(lambda bridge: bridge.reload([station(1, name="Renamed"), station(5)]))
    expect(page.get_by_role("heading", level=3)).to_have_text(["Renamed", "Station 5"])
    assert page.evaluate("window.notReloaded")


def test_page_updates_ages_every_second(open_page: OpenPage) -> None:
    page = open_page()
    age = _card(page, "Station 1").locator("time")
    first = age.inner_text()
    expect(age).not_to_have_text(first)


def test_page_reports_lost_connection_and_reconnects(browser: Browser, server: ServerThread) -> None:
    browser_page = BrowserPage(browser, server.url, DESKTOP)
    with browser_page:
        page = browser_page.page
        expect(page.locator("#live-text")).to_have_text("live")
        server.stop()
        expect(page.locator("#live-text")).to_have_text("not live")
        expect(page.locator("#disconnected")).to_contain_text("No connection to the bridge since")
        expect(page.locator("body")).to_have_attribute("data-live", "no")
        age = _card(page, "Station 1").locator("time")
        first = age.inner_text()
        expect(age).not_to_have_text(first)
        server.bridge.poll(station(1).uuid, reading(power=22080.0))
        server.start()
        expect(page.locator("#live-text")).to_have_text("live")
        expect(page.locator("#disconnected")).to_be_hidden()
        expect(_card(page, "Station 1").locator(".power dd")).to_have_text("22.1 kW")
        assert all("ERR_" in error for error in browser_page.errors), "the browser logs failed requests"
        browser_page.errors.clear()


# Search, filter and order


def test_search_and_filter_are_kept_in_url(open_page: OpenPage) -> None:
    page = open_page()
    names = page.get_by_role("heading", level=3)
    expect(page.locator("#result")).to_have_text("4 stations with 3 plugs.")
    page.get_by_role("searchbox", name="Search").fill("STATION-2")
    expect(names).to_have_text(["Station 2"])
    expect(page.locator("#result")).to_have_text("Found 1 of 4 stations, with 1 plug.")
    page.get_by_role("searchbox").fill("left 000000000003")
    expect(names).to_have_text(["Station 3"])
    page.get_by_role("searchbox").fill("no such name")
    expect(names).to_have_count(0)
    expect(page.locator("#result")).to_have_text("No matches among 4 stations.")
    page.get_by_role("searchbox").fill("")

    page.get_by_role("radio", name="Unavailable").check(force=True)
    expect(names).to_have_text(["Station 2", "Station 3"])
    page.get_by_role("combobox", name="Sort by").select_option("age")
    expect(names).to_have_text(["Station 3", "Station 2"])
    assert page.evaluate("location.hash") == "#state=unavailable&sort=age"
    page.reload()
    expect(names).to_have_text(["Station 3", "Station 2"])
    page.evaluate("location.hash = '#q=station-4'")
    expect(names).to_have_text(["Station 4"])
    expect(page.get_by_role("searchbox")).to_have_value("station-4")


@pytest.mark.parametrize("state", ["constructor", "__proto__", "nothing"])
def test_filter_with_unknown_state_shows_all(open_page: OpenPage, state: str) -> None:
    page = open_page(address=f"#state={state}")
    expect(page.get_by_role("heading", level=3)).to_have_count(4)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("name", "1 2 3 4"), ("attention", "2 3 4 1"), ("power", "1 2 3 4"), ("age", "3 2 1 4")],
)
def test_list_is_sorted_as_selected(open_page: OpenPage, server: ServerThread, sort: str, order: str) -> None:
    server.call(lambda bridge: bridge.poll(station(2).uuid, Failure(Reason.UNREACHABLE)))
    page = open_page(address=f"#sort={sort}")
    expect(page.get_by_role("heading", level=3)).to_have_text([f"Station {number}" for number in order.split()])


def test_list_shows_hundred_stations_and_more_on_request(browser: Browser) -> None:
    bridge = StubBridge([station(number) for number in range(1, 301)])
    bridge.poll_all(lambda: reading("idle", 0.0))
    with ServerThread(bridge) as server, BrowserPage(browser, server.url, DESKTOP) as browser_page:
        page = browser_page.page
        expect(page.locator(".station")).to_have_count(100)
        expect(page.locator("#total-stations")).to_have_text("300")
        page.get_by_role("button", name="Show 100 more").click()
        expect(page.locator(".station")).to_have_count(200)
        expect(page.locator("h3").nth(9)).to_have_text("Station 10")
        page.get_by_role("button", name="Show all 300").click()
        expect(page.locator(".station")).to_have_count(300)
        expect(page.locator("#more")).to_be_hidden()
        page.get_by_role("searchbox").fill("station-299")
        expect(page.locator(".station")).to_have_count(1)


# Topics


@pytest.mark.parametrize("secure", [True, False])
def test_copy_button_works_with_and_without_clipboard_api(open_page: OpenPage, secure: bool) -> None:
    script = "" if secure else "Object.defineProperty(window, 'isSecureContext', { value: false });"
    page = open_page(script=script, permissions=["clipboard-read", "clipboard-write"])
    if not secure:
        page.evaluate("() => { navigator.clipboard.writeText = () => { throw new Error('not allowed'); }; }")
    button = page.get_by_role("button", name="Topics of Station 1, Left")
    expect(button).to_have_attribute("aria-expanded", "false")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    topics = page.get_by_role("list", name="Topics of Station 1, Left")
    expect(topics).to_contain_text("W, power")
    copy = topics.get_by_role("button", name=f"Copy evse/station-1/{'0f' * 16}/power", exact=True)
    copy.click()
    expect(copy).to_have_text("Copied")
    expect(page.locator("#copy-result")).to_contain_text("copied evse/station-1/")
    assert page.evaluate("navigator.clipboard.readText()") == f"evse/station-1/{'0f' * 16}/power"
    page.get_by_role("button", name="Topics of Station 1", exact=True).click()
    expect(page.get_by_role("list", name="Topics of station Station 1")).to_contain_text("evse/station-1/availability")


# Accessibility


@pytest.mark.parametrize("size", [*WINDOW_SIZES.values(), (360, 640), (1920, 1080)])
def test_page_fits_window_width(open_page: OpenPage, server: ServerThread, size: tuple[int, int]) -> None:
    long = "A_very_long_name_without_any_space_" * 3
    server.call(lambda bridge: bridge.reload([station(1, name=long), station(2), station(3)]))
    server.call(lambda bridge: bridge.poll(station(1).uuid, reading(label=long, status=long, power=-123456.7)))
    server.call(lambda bridge: bridge.poll(station(2).uuid, Failure(Reason.UNREACHABLE, "x" * 300)))
    page = open_page(size)
    for button in page.locator(".toggle").all():
        button.click()
    too_wide = page.evaluate(
        """() => [...document.querySelectorAll("body *:not(.visually-hidden, .symbols, .symbols *, .skip-link)")]
            .filter((node) => node.getClientRects().length && node.getBoundingClientRect().right > innerWidth + 0.5)
            .map((node) => `${node.tagName}.${node.className}`)"""
    )
    assert too_wide == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


_LOW_CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const background = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.body.querySelectorAll("*")].filter((node) =>
    node.checkVisibility() && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const low = texts.map((node) => {
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(background(node))];
    return [node, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
  return { texts: texts.length, low: low.map(([node, ratio]) => `${node.className} ${node.textContent}: ${ratio}`) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("live", [True, False])
def test_page_texts_have_enough_contrast(browser: Browser, server: ServerThread, scheme: str, live: bool) -> None:
    server.call(lambda bridge: bridge.poll(station(4).uuid, reading("error")))
    browser_page = BrowserPage(browser, server.url, DESKTOP, color_scheme=scheme, reduced_motion="reduce")
    with browser_page:
        page = browser_page.page
        page.get_by_role("button", name="Topics of Station 1, Left").click()
        if not live:
            server.stop()
            expect(page.locator("#live-text")).to_have_text("not live")
        result = page.evaluate(_LOW_CONTRAST)
        assert result["texts"] > 60
        assert result["low"] == []
        browser_page.errors.clear()


def test_page_has_landmarks_headings_and_labels(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Topics of Station 1, Left").click()
    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("contentinfo")).to_have_count(1)
    expect(page.get_by_role("search")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    levels = [int(level) for level in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(n => n.tagName[1])")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    unlabelled = page.locator("a, button, input, select").evaluate_all(
        """all => all.filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim()
            || [...node.labels || []].some((label) => label.textContent.trim()))).map((node) => node.outerHTML)"""
    )
    assert unlabelled == []
    ids = page.locator("[id]").evaluate_all("all => all.map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("svg:not([aria-hidden]):not([role=img][aria-label])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"


def test_page_is_usable_with_keyboard_only(open_page: OpenPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the stations")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="All")).to_be_focused()
    assert page.locator(".chip").first.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Charging")).to_be_checked()
    expect(page.get_by_role("heading", level=3)).to_have_text(["Station 1"])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Topics of Station 1", exact=True)).to_have_attribute(
        "aria-expanded", "true"
    )


def test_page_without_javascript_names_alternatives(browser: Browser, server: ServerThread) -> None:
    with BrowserPage(browser, server.url, DESKTOP, java_script_enabled=False) as browser_page:
        expect(browser_page.page.locator("noscript p")).to_contain_text("needs JavaScript")
        expect(browser_page.page.locator("noscript a")).to_have_attribute("href", "api/picture")
        browser_page.page.evaluate = lambda *_: []  # type: ignore[method-assign]  # there is no JavaScript to evaluate


def test_page_shows_age_of_future_measurement(open_page: OpenPage, server: ServerThread) -> None:
    future = utc_now() + timedelta(minutes=10, seconds=30)
    server.call(lambda bridge: bridge.poll(station(1).uuid, reading(time=future)))
    expect(_card(open_page(), "Station 1").locator(".age dd")).to_have_text("10 min ahead")
