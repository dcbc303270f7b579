"""The embedded broker of the demo: Mosquitto if it is installed, otherwise amqtt (the extra `demo`).

The broker is a child process in its own session, so that Ctrl-C in the terminal does not stop it before the bridge has
published that it is offline. It listens on 127.0.0.1 only, persists nothing, and has no authentication.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Literal

from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["HOST", "BrokerKind", "EmbeddedBroker", "choose_broker", "embedded_broker", "free_port"]

HOST = "127.0.0.1"

_START_TIMEOUT = 15.0
"""Seconds until a started broker must accept connections."""

_STOP_TIMEOUT = 5.0
"""Seconds until a terminated broker is killed."""

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Folders in which packages install Mosquitto, outside of the PATH of most users."""


_INSTALL_AMQTT = "run `pip install '.[demo]'` in the source folder of the bridge"


class BrokerKind(StrEnum):
    """The broker to start."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker.

    Attributes:
        name: The name of the program.
        port: The port on which it listens.
        protocol: The newest MQTT version that it supports.
        host: The address on which it listens.
    """

    name: str
    port: int
    protocol: Literal["5", "3.1.1"]
    host: str = HOST


@dataclass(frozen=True, slots=True)
class _Launch:
    name: str
    protocol: Literal["5", "3.1.1"]
    command: tuple[str, ...]
    config: str


def free_port(preferred: int) -> int:
    """Return the preferred port if it is free, otherwise one that the system selects."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                chosen: int = probe.getsockname()[1]
                return chosen
    raise UnavailableError(f"no free port on {HOST}")


def choose_broker(kind: BrokerKind, path: str | None = None) -> BrokerKind:
    """Return the broker to start: `kind`, or for `AUTO` the first one that is installed.

    Args:
        kind: The requested broker.
        path: Directories to search for Mosquitto, instead of PATH and the system directories.

    Raises:
        UnavailableError: The broker is not installed; the text names the package to install.
    """
    mosquitto = _mosquitto(path) is not None
    amqtt = importlib.util.find_spec("amqtt") is not None
    match kind:
        case BrokerKind.MOSQUITTO if not mosquitto:
            raise UnavailableError("Mosquitto is not installed: install the package mosquitto")
        case BrokerKind.AMQTT if not amqtt:
            raise UnavailableError(f"amqtt is not installed: {_INSTALL_AMQTT}")
        case BrokerKind.AUTO if not mosquitto and not amqtt:
            raise UnavailableError(f"no broker is installed: install the package mosquitto, or {_INSTALL_AMQTT}")
        case BrokerKind.AUTO:
            return BrokerKind.MOSQUITTO if mosquitto else BrokerKind.AMQTT
    return kind


@asynccontextmanager
async def embedded_broker(port: int, kind: BrokerKind = BrokerKind.AUTO) -> AsyncIterator[EmbeddedBroker]:
    """Run a broker on a port of 127.0.0.1.

    Raises:
        UnavailableError: No broker is installed, the port is in use, or the broker does not start.
    """
    launch = _mosquitto_launch(port) if choose_broker(kind) is BrokerKind.MOSQUITTO else _amqtt_launch(port)
    if free_port(port) != port:
        raise UnavailableError(f"port {port} of {HOST} is in use by another program")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config, tempfile.TemporaryFile() as output:
        config.write(launch.config)
        config.flush()
        process = await asyncio.create_subprocess_exec(
            *launch.command,
            config.name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            await _wait_until_started(process, port, launch.name, output)
            yield EmbeddedBroker(launch.name, port, launch.protocol)
        finally:
            await _terminate(process)


def _mosquitto(path: str | None = None) -> str | None:
    if path is None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    return shutil.which("mosquitto", path=path)


def _mosquitto_launch(port: int) -> _Launch:
    lines = (
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence false",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    )
    return _Launch("Mosquitto", "5", (_mosquitto() or "mosquitto", "-c"), "\n".join(lines) + "\n")


def _amqtt_launch(port: int) -> _Launch:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    command = (sys.executable, "-m", "amqtt.scripts.broker_script", "-c")
    return _Launch("amqtt", "3.1.1", command, json.dumps(config))  # JSON is YAML, which amqtt reads


async def _wait_until_started(process: asyncio.subprocess.Process, port: int, name: str, output: IO[bytes]) -> None:
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            while not await _is_listening(port):
                if process.returncode is not None:
                    output.seek(0)
                    lines = output.read().decode(errors="replace").split("\n")
                    raise UnavailableError(f"{name} exited at startup: {'; '.join(filter(None, lines[-4:]))}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise UnavailableError(f"{name} did not listen on port {port} within {_START_TIMEOUT:g} s") from None


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
