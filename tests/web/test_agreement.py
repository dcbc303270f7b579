"""Topics, JSON, terminal, metrics and status page show the same state of one bridge at the same time.

Each view is read back into a `View` and compared with the retained topics.
"""

import json
import re
import shutil
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS, WAITING_TEXT
from tests.harness import (
    BridgeProcess,
    CloudServer,
    Mosquitto,
    Observer,
    config_tables,
    free_port,
    retained_messages,
    station_table,
    write_config,
)
from tests.harness.cloud import Answer, plug_object

_REASONS_BY_TEXT = {text: reason.value for reason, text in REASON_TEXTS.items()} | {WAITING_TEXT: None}
_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")
_COLUMNS = ("STATION", "PLUG", "STATUS", "POWER", "L1 / L2 / L3", "LIMIT", "AVAILABILITY")


@dataclass(frozen=True)
class View:
    """The state of the bridge as one view shows it, without what that view omits.

    Attributes:
        connected: Whether the bridge is connected to the broker.
        stations: The reason of each station by its name; `None` is not known yet.
        plugs: The values of each plug by the names of station and plug: `reason` (`None`: not known yet), `status`, and
            the measurements by the names of their topics (`None`: never published).
    """

    connected: bool
    stations: dict[str, str | None]
    plugs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """A running bridge with its broker and cloud; `url` is the address of its status page."""

    folder: Path
    broker: Mosquitto
    cloud: CloudServer
    url: str
    tables: dict[str, Any]
    bridge: BridgeProcess

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"


# --- stations: names and aliases are equal, so that all views use the same name

_STATIONS = ("north", "south", "yard", "roof", "attic", "cellar", "garden", "shed")


def _uuid(name: str) -> str:
    return f"{_STATIONS.index(name) + 1:032x}"


def _response(name: str, *statuses: str, hours: float = 0) -> list[dict[str, Any]]:
    """Return the response for a station whose plugs have these statuses, measured some hours ago."""
    at = (_STARTED - timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [
        plug_object(
            evse_uuid=_uuid(name),
            plug_uuid=f"{_uuid(name)[:-2]}{number:02x}",
            plug_label=f"Plug {number}",
            status=status,
            time=at,
            **({} if status == "charging" else {"power": 0, "current_l1": 0, "current_l2": None, "current_l3": 0}),
        )
        for number, status in enumerate(statuses, 1)
    ]


_CORRECT_TOKEN = "correct-token"
_STARTED = datetime.now(UTC)
_RESPONSES: dict[str, Any] = {
    "north": _response("north", "charging", "idle"),
    "south": _response("south", "offline", "connected"),
    "yard": _response("yard", "cloud_offline"),
    "roof": _response("roof", "discharging"),
    "attic": _response("attic", "charging", hours=2),
    "cellar": _response("cellar", "error", "recently_started_charging"),
    "garden": Answer(b"", 500),
    "shed": Answer(hang=True),
}
_EXPECTED: dict[str, str | None] = {
    "north": "online",
    "north Plug 1": "online",
    "north Plug 2": "online",
    "south": "online",
    "south Plug 1": "offline",
    "south Plug 2": "online",
    "yard": "online",
    "yard Plug 1": "cloud_offline",
    "roof": "unauthorized",
    "attic": "online",
    "attic Plug 1": "stale",
    "cellar": "online",
    "cellar Plug 1": "online",
    "cellar Plug 2": "online",
    "garden": "server_error",
    "shed": None,
}


# --- views


def _view_of_topics(site: Site, retained: Mapping[str, str]) -> View:
    view = View(
        retained.get("evse/bridge/availability") == "online",
        {station["name"]: None for station in site.tables["stations"]},
    )
    for topic, payload in retained.items():
        match topic.split("/"):
            case ["evse", station, "availability_reason"]:
                view.stations[station] = payload
            case ["evse", station, _, "state"]:
                values = json.loads(payload)
                view.plugs[station, values["label"]] = {
                    "reason": values["availability_reason"],
                    **{key: values[key] for key in (*_NUMBERS, "status", "time")},
                }
    return view


def _check_topics(retained: Mapping[str, str]) -> None:
    """Check that each value in the `state` of a plug is on its own topic; null values keep the old payload there."""
    for topic, payload in retained.items():
        prefix, _, name = topic.rpartition("/")
        if name == "state":
            for key, value in json.loads(payload).items():
                if value is not None and key != "energy_time":
                    published = retained[f"{prefix}/{key}"]
                    assert value == (published if isinstance(value, str) else json.loads(published))


def _view_of_snapshot(snapshot: Mapping[str, Any]) -> View:
    view = View(snapshot["broker"]["connected"], {each["name"]: each["reason"] for each in snapshot["stations"]})
    assert snapshot["health"]["ready"] is view.connected
    for station in snapshot["stations"]:
        for plug in station["plugs"]:
            values = {name: plug[name] for name in (*_NUMBERS, "status", "reason", "time")}
            if values["time"] is not None:
                values["time"] = _milliseconds(values["time"])
            view.plugs[station["name"], plug["name"]] = values
    return view


def _milliseconds(time: str) -> str:
    return datetime.fromisoformat(time).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _view_of_api(site: Site) -> View:
    return _view_of_snapshot(json.loads(_get(site.url + "/api/picture")))


def _view_of_json_command(site: Site) -> View:
    return _view_of_snapshot(json.loads(_command(site, "status", "--json")))


def _view_of_terminal(site: Site) -> View:
    """Read the table that `status` writes to a pipe: columns are at least two spaces apart."""
    heading, _, table = _command(site, "status").partition("\n\n")
    first = heading.splitlines()[0]
    view = View("broker connected" in first, {})
    assert ("broker NOT CONNECTED" in first) is not view.connected
    headings, *rows = [re.split(r"  +", line.strip()) for line in table.splitlines()]
    for row in rows:
        cells = dict(zip(headings, row, strict=True))
        station, plug, status, power, currents, limit, availability = map(cells.__getitem__, _COLUMNS)
        reason = _REASONS_BY_TEXT[re.split(r" \(for |; ", availability)[0]]
        if plug == "-":
            view.stations[station] = reason
            continue
        phases = currents.removesuffix(" A").split(" / ")
        numbers = [power.removesuffix(" W"), *phases, limit.removesuffix(" A")]
        values: dict[str, Any] = {
            name: None if text == "-" else float(text) for name, text in zip(_NUMBERS, numbers, strict=True)
        }
        view.plugs[station, plug] = values | {"status": status, "reason": reason}
    online = re.search(
        r"^stations  (\d+) of (\d+) online; (\d+) of (\d+) plugs charging, (\S+) W$", heading, re.MULTILINE
    )
    assert online
    expected = _view_of_api(site)
    charging, power = _charging_and_power(expected)
    assert list(map(float, online.groups())) == [
        Counter(expected.stations.values())["online"],
        len(expected.stations),
        charging,
        len(expected.plugs),
        power,
    ]
    return view


def _check_metrics(site: Site, truth: View) -> None:
    """Compare the metrics, which have no labels for stations and plugs, with the totals of the other views."""
    text = _get(site.url + "/metrics")
    samples = {
        (sample.name.removeprefix("evse_mqtt_bridge_"), sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def by_state(name: str) -> dict[str | None, float]:
        return {
            None if state == "waiting" else state: value
            for (metric, state), value in samples.items()
            if metric == name and value
        }

    assert by_state("stations") == Counter(truth.stations.values())
    assert by_state("plugs") == Counter(plug["reason"] for plug in truth.plugs.values())
    assert samples["stations_configured", None] == len(truth.stations)
    assert (samples["plugs_charging", None], samples["power_watts", None]) == _charging_and_power(truth)
    assert samples["broker_connected", None] == truth.connected
    assert samples["healthy", None] == 1


def _charging_and_power(truth: View) -> tuple[float, float]:
    """Return the number of charging plugs and the total power of available plugs in W."""
    online = [plug for plug in truth.plugs.values() if plug["reason"] == "online"]
    charging = sum(meaning(plug["status"]).charging is True for plug in online)
    return float(charging), sum(plug["power"] or 0.0 for plug in online)


# --- status page in a browser


def page_text(page: Any) -> dict[str, Any]:  # noqa: ANN401  # playwright may be missing
    """Return the visible texts of the open page: `broker`, and `stations` by name, with their plugs by label."""
    found: dict[str, Any] = page.evaluate(
        """() => {
          const text = (node, selector) => {
            const found = node.querySelector(selector);
            return found && !found.hidden ? found.innerText.trim() : "";
          };
          const stations = {};
          for (const card of document.querySelectorAll("#list > li.station")) {
            const plugs = {};
            for (const row of card.querySelectorAll("li.plug")) {
              const values = {};
              for (const box of row.querySelectorAll("dl.values > div")) {
                const value = box.querySelector("dd");
                values[box.className] = value.title || value.innerText.trim();
              }
              plugs[text(row, "h4")] = {
                state: text(row, ".state"),
                title: row.querySelector(".state").title,
                explanation: text(row, ".explanation"),
                values
              };
            }
            stations[text(card, "h3")] = {
              state: text(card, ".title .state"), explanation: text(card, "header > .message"), plugs
            };
          }
          return {broker: text(document, "#broker b"), stations};
        }"""
    )
    return found


def _view_of_page(texts: Mapping[str, Any]) -> View:
    view = View(texts["broker"] == "connected", {})
    assert view.connected or texts["broker"] == "not connected"
    for name, station in texts["stations"].items():
        view.stations[name] = _reason_on_page(station["state"], station["explanation"], "online")
        for label, plug in station["plugs"].items():
            is_online = plug["state"] not in ("unavailable", WAITING_TEXT)
            reason = "online" if is_online else _reason_on_page(plug["state"], plug["explanation"], view.stations[name])
            numbers = [plug["values"][key] for key in ("power", "l1", "l2", "l3", "limit")]
            view.plugs[name, label] = {
                **{key: _number(text) for key, text in zip(_NUMBERS, numbers, strict=True)},
                "status": plug["title"].removeprefix("status: "),
                "reason": reason,
            }
    return view


def _reason_on_page(state: str, explanation: str, default: str | None) -> str | None:
    if state == WAITING_TEXT:
        return None
    if not explanation:
        return default
    (found,) = (reason for text, reason in _REASONS_BY_TEXT.items() if re.search(rf"\b{text}\b", explanation))
    return found


def _number(text: str) -> float | None:
    return None if text == "\N{EN DASH}" else float(text.partition(" ")[0])


@pytest.fixture
def page() -> Iterator[Any]:
    """A page in the installed Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


# --- scenario


@pytest.fixture
def site(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Iterator[Site]:
    for name, answer in _RESPONSES.items():
        cloud.answer(_uuid(name), answer, token=_CORRECT_TOKEN if name == "roof" else None)
    port = free_port()
    tables = config_tables(
        broker,
        cloud,
        [station_table(_uuid(name), name=name, alias=name) for name in _STATIONS],
        polling={"offline_after": 1, "stale_after": 3600},
        http={"enabled": True, "port": port},
    )
    tables["cloud"]["timeout"] = 120
    with ExitStack() as stack:
        bridge = stack.enter_context(BridgeProcess.run(write_config(tmp_path / "config.toml", tables)))
        yield Site(tmp_path, broker, cloud, f"http://127.0.0.1:{port}", tables, bridge)
        cloud.stop()  # releases the request that hangs


CompareViews = Callable[[View], None]
"""Compares some views with that of the topics."""


def _run_scenario(site: Site, compare: CompareViews) -> None:
    """Change the state of the bridge step by step, and compare the views after each step."""
    expected = dict(_EXPECTED)
    compare(_wait_for_topics(site, expected))

    # one plug comes online, another goes offline
    site.cloud.answer(_uuid("south"), _response("south", "charging", "connected"))
    site.cloud.answer(_uuid("north"), _response("north", "cloud_offline", "init"))
    expected |= {"south Plug 1": "online", "north Plug 1": "cloud_offline"}
    truth = _wait_for_topics(site, expected)
    compare(truth)

    # the broker restarts without its retained messages
    lines = len(site.bridge.stderr)
    site.broker.stop()
    site.bridge.wait_for_line("connection to the broker lost|broker unreachable", since=lines)
    compare(replace(truth, connected=False))
    site.broker.start()
    compare(_wait_for_topics(site, expected))

    # one station gets the correct token, another is removed
    site.tables["stations"] = [
        {**entry, "token": _CORRECT_TOKEN} if entry["name"] == "roof" else entry
        for entry in site.tables["stations"]
        if entry["name"] != "south"
    ]
    write_config(site.config, site.tables)
    site.bridge.send_signal(signal.SIGHUP)
    site.bridge.wait_for_line("configuration reloaded")
    expected = {name: reason for name, reason in expected.items() if not name.startswith("south")}
    expected |= {"roof": "online", "roof Plug 1": "online"}
    compare(_wait_for_topics(site, expected))


def _wait_for_topics(site: Site, expected: Mapping[str, str | None]) -> View:
    """Wait until the retained topics have the expected reasons, and return their view."""
    with Observer(site.broker.port, "evse/#") as observer:
        observer.wait(
            lambda: (view := _view_of_topics(site, observer.latest)).connected and _reasons(view) == expected,
            timeout=30,
            what="the expected state",
        )
    retained = retained_messages(site.broker.port, "evse/#")
    _check_topics(retained)
    truth = _view_of_topics(site, retained)
    assert _reasons(truth) == expected
    assert truth.connected
    return truth


def _reasons(view: View) -> dict[str, str | None]:
    return dict(view.stations) | {
        f"{station} {plug}": values["reason"] for (station, plug), values in view.plugs.items()
    }


def _compare(view: View, truth: View, name: str) -> None:
    """Check that a view lists all stations and plugs, and that all its values are correct.

    A view may omit the reason of a station that has plugs.
    """
    assert view.connected is truth.connected, name
    assert view.plugs.keys() == truth.plugs.keys(), name
    assert {*view.stations, *(station for station, _ in view.plugs)} == set(truth.stations), name
    assert view.stations.items() <= truth.stations.items(), name
    for key, values in view.plugs.items():
        assert values == {each: truth.plugs[key][each] for each in values}, f"{name}: {key}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def _command(site: Site, *arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--config", str(site.config)], env={"COLUMNS": "10000"})
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_json_terminal_and_metrics_agree_with_topics(site: Site) -> None:
    views: Sequence[tuple[str, Callable[[Site], View]]] = (
        ("/api/picture", _view_of_api),
        ("status --json", _view_of_json_command),
        ("status", _view_of_terminal),
    )

    def compare(truth: View) -> None:
        for name, read in views:
            _compare(read(site), truth, name)
        _check_metrics(site, truth)

    _run_scenario(site, compare)


def test_page_agrees_with_topics(site: Site, page: Any) -> None:  # noqa: ANN401  # playwright may be missing
    site.bridge.wait_for_line("status page")
    page.goto(site.url)
    page.wait_for_selector("body[data-live=yes] #list > li.station")

    def compare(truth: View) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                _compare(_view_of_page(page_text(page)), truth, "page")
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                page.wait_for_timeout(100)  # changes are sent every two seconds
            else:
                return

    _run_scenario(site, compare)
