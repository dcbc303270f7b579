"""The flows in docs/node-red/ work as docs/node-red.md describes, in a real Node-RED with a real bridge.

These tests need the command `node-red` on PATH. test_consumers.py checks the flows without Node-RED.
"""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, free_port, plug_object, status_example
from tests.harness.bridge import clean_environment
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.net import HOST, wait_until_listening

DOCS = Path(__file__).parents[2] / "docs"
FLOWS = DOCS / "node-red"
SHOWN = [line.strip() for line in (DOCS / "node-red.md").read_text().splitlines() if line.startswith("    ")]
"""Alarms and points in the examples of the page."""
COMMAND = shutil.which("node-red")

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no node-red command on PATH")

SETTINGS = """module.exports = {
  uiHost: "127.0.0.1", flowFile: "flows.json", credentialSecret: false,
  telemetry: { enabled: false, updateNotification: false },
  logging: { console: { level: "info", metrics: false, audit: false } },
}
"""

# Nodes that the tests add: they publish the type of each message that arrives, and the output of the flows.
PROBES: list[dict[str, Any]] = [
    {"id": "probes", "type": "tab", "label": "probes"},
    {
        "id": "probe_in",
        "type": "mqtt in",
        "z": "probes",
        "topic": "evse/#",
        "qos": "1",
        "datatype": "auto-detect",
        "broker": "evse_broker",
        "wires": [["probe_type"]],
    },
    {
        "id": "probe_type",
        "type": "function",
        "z": "probes",
        "func": 'return {topic: "probe/type/" + msg.topic, payload: typeof msg.payload, retain: true};',
        "wires": [["probe_out"]],
    },
    {
        "id": "probe_month",
        "type": "mqtt in",
        "z": "probes",
        "topic": "probe/month",
        "qos": "1",
        "datatype": "utf8",
        "broker": "evse_broker",
        "wires": [["probe_report"]],
    },
    {
        "id": "probe_report",
        "type": "function",
        "z": "probes",
        "func": "return {month: msg.payload};",
        "wires": [["evse_report_month"]],
    },
    {"id": "probe_out", "type": "mqtt out", "z": "probes", "broker": "evse_broker", "qos": "1", "wires": []},
]


class Database:
    """A database stub that accepts lines over HTTP and stores them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tokens: set[str | None] = set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                owner.tokens.add(self.headers["authorization"])
                owner.lines.append(body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_port}/write"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _flows(broker: Mosquitto, protocol: str, database: Database, page: str) -> list[dict[str, Any]]:
    """Return all flows with test addresses, a shorter alarm delay, and debug nodes that publish their input."""
    nodes: dict[str, dict[str, Any]] = {}
    for file in sorted(FLOWS.glob("*.json")):
        nodes.update({node["id"]: node for node in json.loads(file.read_text())})
    nodes["evse_broker"] |= {
        "broker": broker.host,
        "port": str(broker.port),
        "protocolVersion": "5" if protocol == "5" else "4",
    }
    nodes["evse_alarm"]["env"] = [{"name": "ALARM_AFTER", "value": "0.5", "type": "num"}]
    nodes["evse_series"]["env"] = [{"name": "INFLUX_TOKEN", "value": "canary", "type": "str"}]
    nodes["evse_series_write"] |= {"d": False, "url": database.url}
    nodes["evse_load_publish"] |= {"d": False}
    nodes["evse_openwb_publish"] |= {"d": False}
    nodes["openwb_broker"] |= {"broker": broker.host, "port": str(broker.port)}
    nodes["evse_report"]["env"] = [{"name": "BRIDGE_URL", "value": page, "type": "str"}]
    for end, tab in (
        ("evse_alarm_out", "evse_alarm"),
        ("evse_load_out", "evse_load"),
        ("evse_report_out", "evse_report"),
    ):
        assert nodes[end]["type"] == "debug"
        nodes[end] = {
            "id": end,
            "type": "function",
            "z": tab,
            "func": f'return {{topic: "probe/{tab}", payload: JSON.stringify(msg)}};',
            "wires": [["probe_out"]],
        }
    return [*nodes.values(), *PROBES]


class NodeRed:
    """A Node-RED process with the flows in a folder, as a context manager that returns its URL."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._output = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            [
                str(COMMAND),
                *("--userDir", folder),
                *("--settings", folder / "settings.js"),
                *("--port", str(self._port)),
            ],
            env=clean_environment({"NODE_RED_DISABLE_TELEMETRY": "1"}),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> str:
        try:
            wait_until_listening(self._port, self._exit_reason, timeout=60)
        except BaseException:
            self.__exit__()
            raise
        return f"http://{HOST}:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def _exit_reason(self) -> str | None:
        if self._process.poll() is None:
            return None
        self._output.seek(0)
        return f"node-red exited with {self._process.returncode}:\n{self._output.read()}"


RIGHT = "evse/garage-north/right/"
TYPES = {
    **dict.fromkeys(("power", "current_l1", "current_l2", "current_l3", "dyn_current_limit"), "number"),
    **dict.fromkeys(("energy", "energy_discharged", "energy_gap", "session_energy"), "number"),
    **dict.fromkeys(("charging", "vehicle_connected", "problem"), "boolean"),
    **dict.fromkeys(("status", "time", "label", "iec61851", "availability", "availability_reason"), "string"),
    **dict.fromkeys(("state", "session", "last_session"), "object"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """The bridge, its cloud, an observer of its broker, a database, and Node-RED with all flows."""

    bridge: BridgeProcess
    cloud: CloudServer
    observer: Observer
    database: Database
    url: str
    bridge_url: str

    def answer(self, **right: object) -> None:
        """Let the cloud answer with the vendor's example, changed for the right plug."""
        self.cloud.answer(EXAMPLE_EVSE, [status_example()[0], plug_object(**right)])

    def publish_plug(self, name: str, **changed: object) -> None:
        """Publish the state of a plug of a station that the bridge does not have."""
        state = {**json.loads(self.observer.latest[f"{RIGHT}state"]), **changed}
        self.observer.publish(f"evse/{name}/state", json.dumps(state))

    @property
    def page(self) -> str:
        """The HTML of the table, with unescaped slashes."""
        with urlopen(f"{self.url}/evse", timeout=5) as answer:
            text: str = answer.read().decode()
        return text.replace("&#x2F;", "/")

    def alarms(self, start: int = 0) -> list[str]:
        """Return the texts of the alarms after the first `start` messages."""
        return [json.loads(payload)["payload"] for payload in self.observer.payloads("probe/evse_alarm", start)]

    @property
    def load(self) -> tuple[float | None, list[str]]:
        """The total power, and the names of the plugs that are left out."""
        content = json.loads(self.observer.latest.get("probe/evse_load", '{"payload": -1, "left_out": []}'))
        return content["payload"], content["left_out"]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition is true."""
        self.observer.wait(condition, timeout=20, what=what)


@pytest.fixture(params=["5"])
def site(
    tmp_path: Path, request: pytest.FixtureRequest, broker: Mosquitto, cloud: CloudServer, observer: Observer
) -> Iterator[Site]:
    station = station_table(alias="garage-north", plugs=dict(zip(EXAMPLE_PLUGS, ("left", "right"), strict=True)))
    tables = config_tables(
        broker,
        cloud,
        [station],
        mqtt={"protocol": request.param},
        polling={"offline_after": 1, "stale_after": 0},
        homeassistant={"enabled": False},
        http={"enabled": True, "port": (port := free_port())},
        history={"enabled": True, "url": f"sqlite:///{tmp_path / 'history.sqlite'}", "time_zone": "UTC"},
    )
    folder = tmp_path / "node-red"
    folder.mkdir()
    (folder / "settings.js").write_text(SETTINGS)
    with ExitStack() as stack:
        database = stack.enter_context(Database())
        (folder / "flows.json").write_text(json.dumps(_flows(broker, request.param, database, f"http://{HOST}:{port}")))
        cloud.answer(EXAMPLE_EVSE, status_example())
        bridge = stack.enter_context(BridgeProcess.run(write_config(tmp_path / "config.toml", tables)))
        observer.wait_for(f"{RIGHT}availability", "online")
        url = stack.enter_context(NodeRed(folder))
        observer.wait_for(f"probe/type/{RIGHT}state", timeout=30)
        yield Site(bridge, cloud, observer, database, url, f"http://{HOST}:{port}")


@pytest.mark.parametrize("site", ["5", "3.1.1"], indirect=True)
def test_plain_topics_arrive_with_documented_types(site: Site) -> None:
    types = {f"{RIGHT}{field}": kind for field, kind in TYPES.items()}
    types |= {"evse/bridge/info": "object", "evse/bridge/availability": "string"}
    for topic, kind in types.items():
        assert site.observer.wait_for(f"probe/type/{topic}") == kind, topic


def test_table_shows_only_live_values(site: Site) -> None:
    site.wait(lambda: "<td>garage-north/right</td><td>Plug 2</td><td>charging</td>" in site.page, "the charging plug")
    assert '<td class="number">7107 W</td>' in site.page
    assert site.page.count("<tr class=") == 2

    site.answer(status="offline")
    site.wait(lambda: '<tr class="gone"><td>garage-north/right</td>' in site.page, "the offline plug")
    assert "7107" not in site.page
    assert "<td>Plug 2</td><td>offline</td>" in site.page
    assert "<td>offline</td></tr>" in site.page

    site.answer(status="charging")
    site.wait(lambda: "<td>Plug 2</td><td>charging</td>" in site.page, "the charging plug again")
    site.cloud.stop()
    site.wait(lambda: "<td>unreachable</td></tr>" in site.page, "the unreachable cloud")
    assert "<td>Plug 2</td><td>\u2013</td>" in site.page  # a dash
    assert "charging</td>" not in site.page
    site.cloud.start()
    site.wait(lambda: "<td>Plug 2</td><td>charging</td>" in site.page, "the cloud")

    site.publish_plug("hall/one", label="<script>alert(1)</script>", availability="online", power=None)
    site.wait(lambda: "hall/one" in site.page, "the plug with the label")
    assert "&lt;script&gt;" in site.page
    assert "<script>" not in site.page
    site.observer.publish("evse/hall/one/state", "")
    site.wait(lambda: "hall/one" not in site.page, "the table without a removed plug")

    site.answer()
    site.wait(lambda: "7107 W" in site.page, "the plug that is back")
    site.bridge.stop()
    site.wait(lambda: "The bridge is offline." in site.page, "the bridge's end")
    assert "7107" not in site.page


def test_alarm_reports_each_problem_once(site: Site) -> None:
    site.answer(status="error")
    site.wait(lambda: site.alarms() == ["garage-north/right: problem (error)"], "the problem")
    site.answer()
    site.wait(lambda: site.alarms()[1:] == ["garage-north/right: over, was problem (error)"], "the end of the problem")
    site.answer(status="offline")
    site.wait(lambda: site.alarms()[2:] == ["garage-north/right: not available (offline)"], "the outage")

    # An outage of a station is reported once, not once per plug.
    start = site.observer.count
    site.cloud.stop()
    site.wait(lambda: site.alarms(start) == ["garage-north: not available (unreachable)"], "the station")
    site.answer()
    site.cloud.start()
    over = [
        "garage-north/right: over, was not available (offline)",
        "garage-north: over, was not available (unreachable)",
    ]
    site.wait(lambda: sorted(site.alarms(start)[1:]) == over, "the end of both")

    # A problem that is over within ALARM_AFTER is not reported.
    start = site.observer.count
    away = {"availability": "offline", "availability_reason": "stale"}
    site.publish_plug("hall/short", **away)
    site.publish_plug("hall/short")
    site.publish_plug("hall/long", **away)
    site.wait(lambda: site.alarms(start) == ["hall/long: not available (stale)"], "the outage that lasted")
    site.bridge.stop()
    site.wait(lambda: site.alarms(start)[1:] == ["bridge: not running, or without its broker"], "the bridge's end")
    assert {line for line in SHOWN if re.match("garage|bridge", line)} <= set(site.alarms())


def test_load_excludes_values_that_are_not_live(site: Site) -> None:
    site.wait(lambda: site.load == (7107, []), "the whole site")
    site.answer(power=-3600.5)
    site.wait(lambda: site.load == (-3600.5, []), "a plug that discharges")
    site.answer(status="offline")
    site.wait(lambda: site.load == (0, ["garage-north/right"]), "the site without the plug")
    site.publish_plug("hall/stale", availability="offline", availability_reason="stale", power=11000)
    site.publish_plug("hall/unknown", availability="online", power=None)
    out = ["garage-north/right", "hall/stale", "hall/unknown"]
    site.wait(lambda: site.load == (0, out), "the site without old and unknown values")
    marked = {"power": 0, "counted": 1, "plugs": 4, "left_out": out}
    site.wait(lambda: json.loads(site.observer.latest["site/load"]) == marked, "the marked sum")
    assert site.observer.latest["site/load"] == json.dumps(marked, separators=(",", ":"))
    assert "site/load" not in site.observer.retained
    site.answer()
    site.wait(lambda: site.load == (7107, out[1:]), "the plug that is back")
    site.bridge.stop()
    site.wait(lambda: site.load[0] is None, "an unknown load instead of 0 W")


def test_points_have_the_time_of_the_measurement(site: Site) -> None:
    def lines() -> list[str]:
        return [line for line in site.database.lines if "plug=right" in line]

    site.wait(lines, "a point")
    assert lines()[0] == next(line for line in SHOWN if line.startswith("evse,"))
    assert site.database.tokens == {"Token canary"}
    before = time.time()
    site.answer(status='of"f\\line', power=None)
    site.wait(lambda: any('status="of\\"f\\\\line",current_l1' in line for line in lines()), "a point without power")
    site.answer(status="offline")
    site.wait(lambda: any("available=false" in line for line in lines()), "the outage")
    (outage,) = (line for line in lines() if "available=false" in line)
    found = re.fullmatch(
        r'evse,station=garage-north,plug=right available=false,reason="offline",status="offline" (\d+)', outage
    )
    assert found
    assert before <= int(found[1]) / 1000 <= time.time()


def test_openwb_messages_have_the_demanded_types(site: Site) -> None:
    prefix = "openWB/set/mqtt/chargepoint/5/get/"
    expected = {
        "power": 7107,
        "currents": [10.3, 10.3, 10.3],
        "phases_in_use": 3,
        "plug_state": True,
        "charge_state": True,
        "exported": 0,
    }
    for key, value in expected.items():
        assert json.loads(site.observer.wait_for(prefix + key)) == value
    assert isinstance(json.loads(site.observer.wait_for(f"{prefix}imported")), int)
    site.answer(status="stopped", power=0, current_l1=0, current_l2=0, current_l3=0)
    site.wait(lambda: site.observer.latest[f"{prefix}charge_state"] == "false", "the end of the charge")
    site.wait(lambda: site.observer.latest[f"{prefix}phases_in_use"] == "0", "a plug without current")
    assert site.observer.latest[f"{prefix}plug_state"] == "true"
    site.answer(status="idle", power=0)
    site.wait(lambda: site.observer.latest[f"{prefix}plug_state"] == "false", "the end of the session")


def test_monthly_report_sums_up_each_station(site: Site) -> None:
    site.answer(status="idle", power=0, time="2024-03-25T11:13:00.000Z")  # 42 s after the example
    site.observer.wait_for(f"{RIGHT}status", "idle")

    def sessions() -> list[dict[str, Any]]:
        with urlopen(f"{site.bridge_url}/api/sessions?since=2024-03&until=2024-04", timeout=5) as answer:
            content: list[dict[str, Any]] = json.load(answer)
        return content

    site.observer.wait(sessions, timeout=60, what="the session in the history")
    (session,) = sessions()
    assert session["energy"] == pytest.approx(7.107 * 42.149 / 2 / 3600, abs=0.001)
    site.observer.publish("probe/month", "2024-03")
    report = json.loads(site.observer.wait_for("probe/evse_report"))
    (row,) = report["report"]
    name = session["station_name"]
    assert row == {
        "month": "2024-03",
        "station": name,
        "sessions": 1,
        "energy": session["energy"],
        "energy_discharged": 0,
        "energy_gap": 0,
    }
    assert report["payload"] == f"{name}: 0.0 kWh, 1 session"
    assert report["csv"] == (
        f'month,station,sessions,energy,energy_discharged,energy_gap\n"2024-03","{name}",1,{session["energy"]},0,0\n'
    )
