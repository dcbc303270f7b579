"""The page in a real browser."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.observability.snapshot import BrokerSnapshot, Health
from evse_mqtt_bridge.web import feed as events
from tests.web.browser import LOOKS, Looking, chromium
from tests.web.served_bridge import ServerThread, StubBridge, minutes_ago, reading, station, utc_now

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
DESKTOP = LOOKS["desktop"]

Look = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed is told eight times as often as to people."""
    monkeypatch.setattr(events, "FRAME_INTERVAL", 0.25)


@pytest.fixture
def scene() -> StubBridge:
    """A station that charges, one that is not reached, one with a plug an hour behind, one that told nothing yet."""
    scene = StubBridge([station(number) for number in range(1, 5)], started=minutes_ago(90))
    one, two, three, _ = scene.plan.stations
    for minutes, power in ((70, 0.0), (50, 11040.0), (20, 3680.0), (0, 3680.0)):
        scene.poll(one, reading(power=power, time=minutes_ago(minutes)), minutes_ago(minutes))
    scene.poll(two, reading("idle", 0.0, time=minutes_ago(40)), minutes_ago(40))
    for minutes in (30, 20, 10):
        scene.poll(two, Failure(Reason.UNREACHABLE, "connection refused"), minutes_ago(minutes))
    scene.poll(three, reading("cloud_offline", time=minutes_ago(61)))
    return scene


@pytest.fixture
def served(scene: StubBridge) -> Iterator[ServerThread]:
    with ServerThread(scene) as served:
        yield served


@pytest.fixture
def look(browser: Browser, served: ServerThread) -> Iterator[Look]:
    """Opens the page, and waits until it is live."""
    open_pages: list[Looking] = []

    def look(size: tuple[int, int] = DESKTOP, address: str = "", script: str = "", **options: Any) -> Page:  # noqa: ANN401  # as playwright's
        looking = Looking(browser, served.url + address, size, script, **options)
        looking.__enter__()
        open_pages.append(looking)
        expect(looking.page.locator("#live-words")).to_have_text("live")
        return looking.page

    yield look
    for looking in open_pages:
        looking.__exit__(None, None, None)


def _card(page: Page, name: str) -> Any:  # noqa: ANN401  # a Locator, which has no name outside of playwright
    return page.locator(".station").filter(has=page.get_by_role("heading", name=name, exact=True))


# What it says


def test_what_is_known_is_told_in_words(look: Look) -> None:
    page = look()
    one = _card(page, "Station 1")
    expect(one).to_contain_text("online")
    expect(one.locator(".plug")).to_contain_text("Left")
    expect(one.locator(".plug .state")).to_have_text("charging")
    values = dict(zip(one.locator("dt").all_inner_texts(), one.locator("dd").all_inner_texts(), strict=True))
    assert values.pop("Measured").endswith(" s ago")
    assert values == {"Power": "3.7 kW", "L1": "10.3 A", "L2": "10.3 A", "L3": "10.3 A", "Limit": "12 A"}

    two = _card(page, "Station 2")
    expect(two).to_contain_text(re.compile(r"Unavailable since .+ \(10 min\): the cloud does not answer"))
    expect(two).to_contain_text(
        re.compile(r"3 polls in a row failed. Last error .+ \(10 min ago\): connection refused")
    )
    three = _card(page, "Station 3")
    expect(three.locator(".plug")).to_contain_text(re.compile(r"Unavailable since .+: the cloud has lost the plug"))
    expect(three.locator(".age")).to_contain_text("61 min ago")
    expect(_card(page, "Station 4")).to_contain_text("not asked yet")

    expect(page.locator("#broker")).to_contain_text("connected")
    expect(page.locator("#broker")).to_contain_text("broker.example:1883")
    expect(page.locator("#sum-power")).to_have_text("3.7 kW")
    expect(page.locator("#sum-charging")).to_have_text("1 of 4")
    expect(page.locator("#sum-unavailable")).to_have_text("2 of 4")
    expect(page).to_have_title("2 unavailable · evse-mqtt-bridge")


def test_the_power_of_the_last_hour_is_drawn_with_its_gaps_and_told(look: Look) -> None:
    page = look()
    line = _card(page, "Station 1").get_by_role("img")
    expect(line).to_have_attribute("aria-label", "power over the last hour: now 3.7 kW, highest 11.0 kW")
    drawn = line.locator(".steps").get_attribute("d") or ""
    assert re.fullmatch(r"M0\.0 28\.0H(18|19|20)\.\dV2\.0H(78|79|80)\.\dV19\.3H120\.0", drawn), drawn  # to the minute
    gone = _card(page, "Station 2").get_by_role("img")
    expect(gone).to_have_attribute("aria-label", "power over the last hour: now not known, highest 0 W")
    assert "H120.0" not in (gone.locator(".steps").get_attribute("d") or "")


def test_trouble_is_told(look: Look, served: ServerThread) -> None:
    page = look()
    expect(page.locator("#words")).to_be_hidden()

    def trouble(scene: StubBridge) -> None:
        scene.broker = BrokerSnapshot("broker.example:1883", False, utc_now(), "connection refused")  # noqa: FBT003  # connected
        scene.current_health = Health(
            healthy=False, ready=False, words=("polling is stuck", "no connection to the broker")
        )

    served.call(trouble)
    expect(page.locator("#words li")).to_have_text(["polling is stuck", "no connection to the broker"])
    expect(page.locator("#bridge")).to_contain_text("stuck")
    expect(page.locator("#broker")).to_contain_text("not connected")


def test_names_are_text(browser: Browser) -> None:
    scene = StubBridge([station(1, name=HOSTILE[:128])])
    scene.poll(station(1).uuid, reading(label=HOSTILE, status=HOSTILE))
    scene.poll(station(1).uuid, Failure(Reason.INVALID_RESPONSE, HOSTILE))
    with ServerThread(scene) as served, Looking(browser, served.url, DESKTOP) as looking:
        page = looking.page
        expect(page.locator("h3")).to_have_text(HOSTILE[:128])
        expect(page.locator("h4")).to_have_text(HOSTILE)
        expect(page.locator(".said").filter(has_text="Last error")).to_contain_text(HOSTILE)
        page.locator(".plug .act").click()
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 2
        assert "taken" not in page.title()


# Live


def test_it_is_live_without_a_reload(look: Look, served: ServerThread) -> None:
    page = look()
    page.evaluate("window.still = true")
    power = _card(page, "Station 1").locator(".power dd")
    expect(power).to_have_text("3.7 kW")
    served.call(lambda scene: scene.poll(station(1).uuid, reading(power=22080.0)))
    expect(power).to_have_text("22.1 kW")
    expect(page.locator("#sum-power")).to_have_text("22.1 kW")
    expect(_card(page, "Station 1").get_by_role("img")).to_have_attribute(
        "aria-label", "power over the last hour: now 22.1 kW, highest 22.1 kW"
    )
    served.call(lambda scene: scene.reload([station(1, name="Renamed"), station(5)]))
    expect(page.get_by_role("heading", level=3)).to_have_text(["Renamed", "Station 5"])
    assert page.evaluate("window.still")


def test_ages_go_on_counting(look: Look) -> None:
    page = look()
    age = _card(page, "Station 1").locator("time")
    first = age.inner_text()
    expect(age).not_to_have_text(first)


def test_a_lost_stream_is_told_and_found_again(browser: Browser, served: ServerThread) -> None:
    looking = Looking(browser, served.url, DESKTOP)
    with looking:
        page = looking.page
        expect(page.locator("#live-words")).to_have_text("live")
        served.stop()
        expect(page.locator("#live-words")).to_have_text("not live")
        expect(page.locator("#lost")).to_contain_text("No connection to the bridge since")
        expect(page.locator("body")).to_have_attribute("data-live", "no")
        age = _card(page, "Station 1").locator("time")
        first = age.inner_text()
        expect(age).not_to_have_text(first)
        served.bridge.poll(station(1).uuid, reading(power=22080.0))
        served.start()
        expect(page.locator("#live-words")).to_have_text("live")
        expect(page.locator("#lost")).to_be_hidden()
        expect(_card(page, "Station 1").locator(".power dd")).to_have_text("22.1 kW")
        assert all("ERR_" in error for error in looking.errors), "the browser tells of what it could not reach"
        looking.errors.clear()


# Finding


def test_search_and_states_find_plugs_and_stand_in_the_address(look: Look) -> None:
    page = look()
    names = page.get_by_role("heading", level=3)
    expect(page.locator("#found")).to_have_text("4 stations with 3 plugs.")
    page.get_by_role("searchbox", name="Search").fill("STATION-2")
    expect(names).to_have_text(["Station 2"])
    expect(page.locator("#found")).to_have_text("1 station with 1 plug found of 4.")
    page.get_by_role("searchbox").fill("left 000000000003")
    expect(names).to_have_text(["Station 3"])
    page.get_by_role("searchbox").fill("nothing like it")
    expect(names).to_have_count(0)
    expect(page.locator("#found")).to_have_text("Nothing found among 4 stations.")
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
def test_an_address_with_a_state_that_is_none_shows_all(look: Look, state: str) -> None:
    page = look(address=f"#state={state}")
    expect(page.get_by_role("heading", level=3)).to_have_count(4)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("name", "1 2 3 4"), ("attention", "2 3 4 1"), ("power", "1 2 3 4"), ("age", "3 2 1 4")],
)
def test_sorting(look: Look, served: ServerThread, sort: str, order: str) -> None:
    served.call(lambda scene: scene.poll(station(2).uuid, Failure(Reason.UNREACHABLE)))
    page = look(address=f"#sort={sort}")
    expect(page.get_by_role("heading", level=3)).to_have_text([f"Station {number}" for number in order.split()])


def test_of_many_stations_some_are_shown_and_more_when_asked(browser: Browser) -> None:
    scene = StubBridge([station(number) for number in range(1, 301)])
    scene.poll_all(lambda: reading("idle", 0.0))
    with ServerThread(scene) as served, Looking(browser, served.url, DESKTOP) as looking:
        page = looking.page
        expect(page.locator(".station")).to_have_count(100)
        expect(page.locator("#sum-stations")).to_have_text("300")
        page.get_by_role("button", name="Show 100 more").click()
        expect(page.locator(".station")).to_have_count(200)
        expect(page.locator("h3").nth(9)).to_have_text("Station 10")
        page.get_by_role("button", name="Show all 300").click()
        expect(page.locator(".station")).to_have_count(300)
        expect(page.locator("#further")).to_be_hidden()
        page.get_by_role("searchbox").fill("station-299")
        expect(page.locator(".station")).to_have_count(1)


# Topics


@pytest.mark.parametrize("secure", [True, False])
def test_topics_are_copied_over_https_and_over_plain_http(look: Look, secure: bool) -> None:
    script = "" if secure else "Object.defineProperty(window, 'isSecureContext', { value: false });"
    page = look(script=script, permissions=["clipboard-read", "clipboard-write"])
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
    expect(page.locator("#told")).to_contain_text("copied evse/station-1/")
    assert page.evaluate("navigator.clipboard.readText()") == f"evse/station-1/{'0f' * 16}/power"
    page.get_by_role("button", name="Topics of Station 1", exact=True).click()
    expect(page.get_by_role("list", name="Topics of station Station 1")).to_contain_text("evse/station-1/availability")


# For everybody


@pytest.mark.parametrize("size", [*LOOKS.values(), (360, 640), (1920, 1080)])
def test_nothing_is_wider_than_the_window(look: Look, served: ServerThread, size: tuple[int, int]) -> None:
    long = "A_very_long_name_without_any_space_" * 3
    served.call(lambda scene: scene.reload([station(1, name=long), station(2), station(3)]))
    served.call(lambda scene: scene.poll(station(1).uuid, reading(label=long, status=long, power=-123456.7)))
    served.call(lambda scene: scene.poll(station(2).uuid, Failure(Reason.UNREACHABLE, "x" * 300)))
    page = look(size)
    for button in page.locator(".act").all():
        button.click()
    wide = page.evaluate(
        """() => [...document.querySelectorAll("body *:not(.heard, .symbols, .symbols *, .skip)")]
            .filter((node) => node.getClientRects().length && node.getBoundingClientRect().right > innerWidth + 0.5)
            .map((node) => `${node.tagName}.${node.className}`)"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


_POOR = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = [...document.body.querySelectorAll("*")].filter((node) =>
    node.checkVisibility() && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const poor = texts.map((node) => {
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    return [node, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }).filter(([, ratio]) => ratio < 4.5);
  return { texts: texts.length, poor: poor.map(([node, ratio]) => `${node.className} ${node.textContent}: ${ratio}`) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("live", [True, False])
def test_every_text_has_contrast(browser: Browser, served: ServerThread, scheme: str, live: bool) -> None:
    served.call(lambda scene: scene.poll(station(4).uuid, reading("error")))
    looking = Looking(browser, served.url, DESKTOP, color_scheme=scheme, reduced_motion="reduce")
    with looking:
        page = looking.page
        page.get_by_role("button", name="Topics of Station 1, Left").click()
        if not live:
            served.stop()
            expect(page.locator("#live-words")).to_have_text("not live")
        seen = page.evaluate(_POOR)
        assert seen["texts"] > 60
        assert seen["poor"] == []
        looking.errors.clear()


def test_a_screen_reader_finds_its_way(look: Look) -> None:
    page = look()
    page.get_by_role("button", name="Topics of Station 1, Left").click()
    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("contentinfo")).to_have_count(1)
    expect(page.get_by_role("search")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    levels = [int(level) for level in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(n => n.tagName[1])")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    nameless = page.locator("a, button, input, select").evaluate_all(
        """all => all.filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim()
            || [...node.labels || []].some((label) => label.textContent.trim()))).map((node) => node.outerHTML)"""
    )
    assert nameless == []
    ids = page.locator("[id]").evaluate_all("all => all.map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("svg:not([aria-hidden]):not([role=img][aria-label])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"


def test_it_is_used_with_the_keyboard_alone(look: Look) -> None:
    page = look()
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


def test_without_scripts_it_says_where_to_look(browser: Browser, served: ServerThread) -> None:
    with Looking(browser, served.url, DESKTOP, java_script_enabled=False) as looking:
        expect(looking.page.locator("noscript p")).to_contain_text("needs JavaScript")
        expect(looking.page.locator("noscript a")).to_have_attribute("href", "api/picture")
        looking.page.evaluate = lambda *_: []  # type: ignore[method-assign]  # nothing can be asked of it


def test_a_measurement_of_the_future_is_told(look: Look, served: ServerThread) -> None:
    ahead = utc_now() + timedelta(minutes=10, seconds=30)
    served.call(lambda scene: scene.poll(station(1).uuid, reading(time=ahead)))
    expect(_card(look(), "Station 1").locator(".age dd")).to_have_text("10 min ahead")
