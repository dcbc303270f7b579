"""Runs brokers other than Mosquitto, where they are installed."""

import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["OTHER_BROKERS", "OtherBroker"]

_AEDES = """
import {{ createServer }} from 'node:net'
const {{ Aedes }} = await import('{module}')
const broker = await Aedes.createBroker()
createServer(broker.handle).listen({port}, '{host}')
"""

_NATS = """
listen: "{host}:{client_port}"
server_name: test
jetstream {{ store_dir: "{folder}" }}
mqtt {{ listen: "{host}:{port}" }}
"""


class OtherBroker:
    """A broker on a free port of 127.0.0.1; use it as a context manager.

    Args:
        name: One of `OTHER_BROKERS`. The test is skipped if the broker is not installed.
        folder: Folder for its files, which is created.
    """

    host = HOST

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        folder.mkdir()
        self._command = _aedes(folder, self.port) if name == "aedes" else _nats(folder, self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_listening(self.port, lambda: f"exited with {code}" if (code := process.poll()) is not None else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


OTHER_BROKERS = ("aedes", "nats")


def _aedes(folder: Path, port: int) -> list[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node.js is not installed")
    modules = subprocess.run([npm, "root", "--global"], capture_output=True, text=True, check=True).stdout.strip()
    module = Path(modules) / "aedes" / "aedes.js"
    if not module.exists():
        pytest.skip("aedes is not installed; npm install --global aedes")
    script = folder / "broker.mjs"
    script.write_text(_AEDES.format(module=module, port=port, host=HOST))
    return [node, str(script)]


def _nats(folder: Path, port: int) -> list[str]:
    program = shutil.which("nats-server", path="/usr/bin:/usr/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("nats-server is not installed")
    config = folder / "nats.conf"
    config.write_text(_NATS.format(host=HOST, client_port=free_port(), port=port, folder=folder / "data"))
    return [program, "-c", str(config)]
