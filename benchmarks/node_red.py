"""A Node-RED flow of four nodes for the same task: node_red_flow.json, run by Node-RED without its editor."""

import os
import shlex
import shutil
from pathlib import Path

from benchmarks.client import Client
from benchmarks.rig import Rig

__all__ = ["NodeRed", "missing_reason"]

_FLOW = Path(__file__).with_name("node_red_flow.json")
_SETTINGS = """
module.exports = { flowFile: 'flows.json', httpAdminRoot: false, httpNodeRoot: false, credentialSecret: false,
  uiHost: '127.0.0.1', uiPort: 0, logging: { console: { level: 'info', metrics: false, audit: false } } }
"""
_AT_ONCE = 20
_BURSTS = 10


def missing_reason() -> str:
    """Return why Node-RED cannot be measured; empty if it can."""
    return "" if _command() else "no node-red on PATH, and NODE_RED names no command that starts one"


class NodeRed(Client):
    """The flow for a number of stations: as fast as it can, or at `rate` polls per second, in ten bursts per second."""

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
    """Return the command that starts Node-RED: NODE_RED, split as by a shell, else `node-red` on PATH, else nothing."""
    configured = shlex.split(os.environ.get("NODE_RED", ""))
    if configured:
        return configured if shutil.which(configured[0]) else []
    found = shutil.which("node-red")
    return [found] if found else []
