"""A Node-RED flow of four nodes that does the same: node_red_flow.json, in a real Node-RED, without its editor."""

import os
import shlex
import shutil
from pathlib import Path

from benchmarks.client import Client
from benchmarks.rig import Rig

__all__ = ["NodeRed", "why_not"]

_FLOW = Path(__file__).with_name("node_red_flow.json")
_SETTINGS = """
module.exports = { flowFile: 'flows.json', httpAdminRoot: false, httpNodeRoot: false, credentialSecret: false,
  uiHost: '127.0.0.1', uiPort: 0, logging: { console: { level: 'info', metrics: false, audit: false } } }
"""
_AT_ONCE = 20
_BURSTS = 10


def why_not() -> str:
    """Why there is no Node-RED to measure; empty where there is one."""
    return "" if _command() else "no node-red on PATH, and NODE_RED names no command that starts one"


class NodeRed(Client):
    """The flow for stations 0 up to `stations`: as fast as it can, or `rate` polls per second, in ten bursts each."""

    def __init__(self, rig: Rig, stations: int, rate: float = 0) -> None:
        home = rig.folder / "node-red"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        (home / "settings.js").write_text(_SETTINGS)
        shutil.copy(_FLOW, home / "flows.json")
        environment = {
            **os.environ,
            "EVSE_CLOUD": rig.cloud.url,
            "EVSE_CA": str(rig.cloud.ca_file),
            "EVSE_BROKER_PORT": str(rig.broker.port),
            "EVSE_STATIONS": str(stations),
            "EVSE_AT_ONCE": str(round(rate / _BURSTS) if rate else _AT_ONCE),
            "EVSE_REPEAT": str(1 / _BURSTS) if rate else "",
        }
        super().__init__(rig, [*_command(), "-u", home, "-s", home / "settings.js"], environment)


def _command() -> list[str]:
    """How Node-RED is started: NODE_RED, as a shell would split it, or what is on PATH."""
    named = shlex.split(os.environ.get("NODE_RED", ""))
    if named:
        return named if shutil.which(named[0]) else []
    found = shutil.which("node-red")
    return [found] if found else []
