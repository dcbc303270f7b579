"""The topics, the JSON, the terminal, the metrics and the page say the same of one bridge at the same moment.

What each of them says is read back into one form, `Told`, and compared with what the broker retains.
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

_WORDS = {words: reason.value for reason, words in REASON_TEXTS.items()} | {WAITING_TEXT: None}
_NUMBERS = ("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit")


@dataclass(frozen=True)
class Told:
    """What one of them says; what it does not say is left out.

    `stations` is the reason of each by name, `plugs` the values of each by the names of station and plug: `reason`
    (`None`: not known yet), `status`, and the measurements by the names of their topics (`None`: never told).
    """

    connected: bool
    stations: dict[str, str | None]
    plugs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """A bridge that runs, with all that belongs to it; `url` is where it shows itself."""

    folder: Path
    broker: Mosquitto
    cloud: CloudServer
    url: str
    tables: dict[str, Any]
    bridge: BridgeProcess

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"


# --- the stations: their names are their aliases, too, so that they are the same everywhere

_STATIONS = ("north", "south", "yard", "roof", "attic", "cellar", "garden", "shed")


def _uuid(name: str) -> str:
    return f"{_STATIONS.index(name) + 1:032x}"


def _answer(name: str, *statuses: str, hours: float = 0) -> list[dict[str, Any]]:
    """The answer of a station, whose plugs have these statuses and were measured so long ago."""
    at = (_BEGAN - timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
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


_MENDED = "the-token-that-is-right"
_BEGAN = datetime.now(UTC)
_ANSWERS: dict[str, Any] = {
    "north": _answer("north", "charging", "idle"),
    "south": _answer("south", "offline", "connected"),
    "yard": _answer("yard", "cloud_offline"),
    "roof": _answer("roof", "discharging"),
    "attic": _answer("attic", "charging", hours=2),
    "cellar": _answer("cellar", "error", "recently_started_charging"),
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


# --- what each of them says


def _by_topics(site: Site, retained: Mapping[str, str]) -> Told:
    told = Told(
        retained.get("evse/bridge/availability") == "online",
        {station["name"]: None for station in site.tables["stations"]},
    )
    for topic, payload in retained.items():
        match topic.split("/"):
            case ["evse", station, "availability_reason"]:
                told.stations[station] = payload
            case ["evse", station, _, "state"]:
                values = json.loads(payload)
                told.plugs[station, values["label"]] = {
                    "reason": values["availability_reason"],
                    **{key: values[key] for key in (*_NUMBERS, "status", "time")},
                }
    return told


def _check_topics(retained: Mapping[str, str]) -> None:
    """What the `state` of a plug says stands on its other topics; those of what is not known keep what they had."""
    for topic, payload in retained.items():
        prefix, _, name = topic.rpartition("/")
        if name == "state":
            for key, value in json.loads(payload).items():
                if value is not None:
                    assert retained[f"{prefix}/{key}"] == (value if isinstance(value, str) else json.dumps(value))


def _by_picture(picture: Mapping[str, Any]) -> Told:
    told = Told(picture["broker"]["connected"], {each["name"]: each["reason"] for each in picture["stations"]})
    assert picture["health"]["ready"] is told.connected
    for station in picture["stations"]:
        for plug in station["plugs"]:
            values = {name: plug[name] for name in (*_NUMBERS, "status", "reason", "time")}
            if values["time"] is not None:
                values["time"] = _milliseconds(values["time"])
            told.plugs[station["name"], plug["name"]] = values
    return told


def _milliseconds(time: str) -> str:
    return datetime.fromisoformat(time).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _of_api(site: Site) -> Told:
    return _by_picture(json.loads(_get(site.url + "/api/picture")))


def _of_json(site: Site) -> Told:
    return _by_picture(json.loads(_command(site, "status", "--json")))


def _of_terminal(site: Site) -> Told:
    """Of the table that a pipe gets: columns are at least two spaces apart."""
    heading, _, table = _command(site, "status").partition("\n\n")
    first = heading.splitlines()[0]
    told = Told("broker connected" in first, {})
    assert ("broker NOT CONNECTED" in first) is not told.connected
    for line in table.splitlines()[1:]:
        station, plug, status, power, currents, limit, _, why = re.split(r"  +", line.strip())
        reason = _WORDS[re.split(r" \(for |; ", why)[0]]
        if plug == "-":
            told.stations[station] = reason
            continue
        phases = currents.removesuffix(" A").split(" / ")
        numbers = [power.removesuffix(" W"), *phases, limit.removesuffix(" A")]
        values: dict[str, Any] = {
            name: None if text == "-" else float(text) for name, text in zip(_NUMBERS, numbers, strict=True)
        }
        told.plugs[station, plug] = values | {"status": status, "reason": reason}
    online = re.search(
        r"^stations  (\d+) of (\d+) online; (\d+) of (\d+) plugs charging, (\S+) W$", heading, re.MULTILINE
    )
    assert online
    truth = _of_api(site)
    charging, power = _flow(truth)
    assert list(map(float, online.groups())) == [
        Counter(truth.stations.values())["online"],
        len(truth.stations),
        charging,
        len(truth.plugs),
        power,
    ]
    return told


def _check_metrics(site: Site, truth: Told) -> None:
    """Metrics name nobody: they are sums of what the others say."""
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
    assert (samples["plugs_charging", None], samples["power_watts", None]) == _flow(truth)
    assert samples["broker_connected", None] == truth.connected
    assert samples["healthy", None] == 1


def _flow(truth: Told) -> tuple[float, float]:
    """How many plugs charge, and the power of all; those that are not available count for nothing."""
    online = [plug for plug in truth.plugs.values() if plug["reason"] == "online"]
    charging = sum(meaning(plug["status"]).charging is True for plug in online)
    return float(charging), sum(plug["power"] or 0.0 for plug in online)


# --- the page, in a browser


def page_text(page: Any) -> dict[str, Any]:  # noqa: ANN401  # playwright may be missing
    """What a reader finds on the page that is open: `broker`, and `stations` by name, with their plugs by label."""
    found: dict[str, Any] = page.evaluate(
        """() => {
          const text = (node, what) => {
            const found = node.querySelector(what);
            return found && !found.hidden ? found.innerText.trim() : "";
          };
          const stations = {};
          for (const card of document.querySelectorAll("#list > li.station")) {
            const plugs = {};
            for (const row of card.querySelectorAll("li.plug")) {
              const values = {};
              for (const box of row.querySelectorAll("dl.values > div")) {
                const shown = box.querySelector("dd");
                values[box.className] = shown.title || shown.innerText.trim();
              }
              plugs[text(row, "h4")] = {
                state: text(row, ".state"), title: row.querySelector(".state").title, why: text(row, ".why"), values
              };
            }
            stations[text(card, "h3")] = {state: text(card, ".title .state"), why: text(card, "header > .said"), plugs};
          }
          return {broker: text(document, "#broker b"), stations};
        }"""
    )
    return found


def _by_page(shown: Mapping[str, Any]) -> Told:
    told = Told(shown["broker"] == "connected", {})
    assert told.connected or shown["broker"] == "not connected"
    for name, station in shown["stations"].items():
        told.stations[name] = _reason_on_page(station["state"], station["why"], "online")
        for label, plug in station["plugs"].items():
            own = plug["state"] not in ("unavailable", "has not answered yet")
            reason = "online" if own else _reason_on_page(plug["state"], plug["why"], told.stations[name])
            numbers = [plug["values"][key] for key in ("power", "l1", "l2", "l3", "limit")]
            told.plugs[name, label] = {
                **{key: _number(text) for key, text in zip(_NUMBERS, numbers, strict=True)},
                "status": plug["title"].removeprefix("status: "),
                "reason": reason,
            }
    return told


def _reason_on_page(state: str, why: str, otherwise: str | None) -> str | None:
    if state == WAITING_TEXT:
        return None
    if not why:
        return otherwise
    (found,) = (reason for words, reason in _WORDS.items() if re.search(rf"\b{words}\b", why))
    return found


def _number(text: str) -> float | None:
    return None if text == "\N{EN DASH}" else float(text.partition(" ")[0])


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of the browser of this machine."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


# --- the course of things


@pytest.fixture
def site(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Iterator[Site]:
    for name, answer in _ANSWERS.items():
        cloud.answer(_uuid(name), answer, token=_MENDED if name == "roof" else None)
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
        cloud.stop()  # which lets the request go that hangs


Look = Callable[[Told], None]
"""Compares what some of them say with the truth."""


def _course(site: Site, look: Look) -> None:
    """Things happen to the site, and after each, all are compared."""
    expected = dict(_EXPECTED)
    look(_settled(site, expected))

    # one plug comes back, another goes
    site.cloud.answer(_uuid("south"), _answer("south", "charging", "connected"))
    site.cloud.answer(_uuid("north"), _answer("north", "cloud_offline", "init"))
    expected |= {"south Plug 1": "online", "north Plug 1": "cloud_offline"}
    truth = _settled(site, expected)
    look(truth)

    # the broker goes, and comes back without what it retained
    lines = len(site.bridge.stderr)
    site.broker.stop()
    site.bridge.wait_for_line("connection to the broker lost|broker unreachable", since=lines)
    look(replace(truth, connected=False))
    site.broker.start()
    look(_settled(site, expected))

    # a station comes back with a token that is right, and another is removed
    site.tables["stations"] = [
        {**entry, "token": _MENDED} if entry["name"] == "roof" else entry
        for entry in site.tables["stations"]
        if entry["name"] != "south"
    ]
    write_config(site.config, site.tables)
    site.bridge.send_signal(signal.SIGHUP)
    site.bridge.wait_for_line("configuration reloaded")
    expected = {name: reason for name, reason in expected.items() if not name.startswith("south")}
    expected |= {"roof": "online", "roof Plug 1": "online"}
    look(_settled(site, expected))


def _settled(site: Site, expected: Mapping[str, str | None]) -> Told:
    """What the broker retains, once it is what is expected, and no longer on its way."""
    with Observer(site.broker.port, "evse/#") as observer:
        observer.wait(
            lambda: (told := _by_topics(site, observer.latest)).connected and _reasons(told) == expected,
            timeout=30,
            what="the expected state",
        )
    retained = retained_messages(site.broker.port, "evse/#")
    _check_topics(retained)
    truth = _by_topics(site, retained)
    assert _reasons(truth) == expected
    assert truth.connected
    return truth


def _reasons(told: Told) -> dict[str, str | None]:
    return dict(told.stations) | {
        f"{station} {plug}": values["reason"] for (station, plug), values in told.plugs.items()
    }


def _compare(told: Told, truth: Told, name: str) -> None:
    """All that was told is true, and nobody is left out; a station with plugs may tell its reason by theirs."""
    assert told.connected is truth.connected, name
    assert told.plugs.keys() == truth.plugs.keys(), name
    assert {*told.stations, *(station for station, _ in told.plugs)} == set(truth.stations), name
    assert told.stations.items() <= truth.stations.items(), name
    for key, values in told.plugs.items():
        assert values == {each: truth.plugs[key][each] for each in values}, f"{name}: {key}"


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body.decode()


def _command(site: Site, *arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments, "--config", str(site.config)], env={"COLUMNS": "10000"})
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_json_terminal_metrics_and_topics_agree(site: Site) -> None:
    fronts: Sequence[tuple[str, Callable[[Site], Told]]] = (
        ("/api/picture", _of_api),
        ("status --json", _of_json),
        ("status", _of_terminal),
    )

    def look(truth: Told) -> None:
        for name, front in fronts:
            _compare(front(site), truth, name)
        _check_metrics(site, truth)

    _course(site, look)


def test_the_page_and_the_topics_agree(site: Site, page: Any) -> None:  # noqa: ANN401  # playwright may be missing
    site.bridge.wait_for_line("status page")
    page.goto(site.url)
    page.wait_for_selector("body[data-live=yes] #list > li.station")

    def look(truth: Told) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                _compare(_by_page(page_text(page)), truth, "the page")
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                page.wait_for_timeout(100)  # it is told what changed every two seconds
            else:
                return

    _course(site, look)
