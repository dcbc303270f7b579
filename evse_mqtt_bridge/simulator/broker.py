"""A broker that lives as long as a demonstration: Mosquitto where it is installed, else amqtt (the extra `demo`).

Both run as a child process of its own session, so that a Ctrl-C in the terminal does not end them before the bridge
could say goodbye. They listen on 127.0.0.1 alone, keep nothing, and ask for no password.
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

__all__ = ["HOST", "BrokerKind", "EmbeddedBroker", "choose", "embedded_broker", "free_port"]

HOST = "127.0.0.1"

START_LIMIT = 15.0
"""Seconds that a broker may take until it accepts connections."""

STOP_LIMIT = 5.0
"""Seconds that a broker may take to end by itself."""

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Where packages put Mosquitto, and where users do not have their PATH."""


class BrokerKind(StrEnum):
    """Which broker to start."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker; `protocol` is the newest MQTT version that it speaks."""

    name: str
    port: int
    protocol: Literal["5", "3.1.1"]
    host: str = HOST


@dataclass(frozen=True, slots=True)
class _Recipe:
    name: str
    protocol: Literal["5", "3.1.1"]
    command: tuple[str, ...]
    config: str


def free_port(wanted: int) -> int:
    """`wanted` where nobody listens on it, else a port that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                chosen: int = probe.getsockname()[1]
                return chosen
    raise UnavailableError(f"no free port on {HOST}")


def choose(kind: BrokerKind, path: str | None = None) -> BrokerKind:
    """The broker that `kind` stands for on this machine; `path` takes PATH's place.

    Raises:
        UnavailableError: it is not installed; the text says what to install.
    """
    mosquitto = _mosquitto(path) is not None
    amqtt = importlib.util.find_spec("amqtt") is not None
    match kind:
        case BrokerKind.MOSQUITTO if not mosquitto:
            raise UnavailableError("Mosquitto is not installed: install the package mosquitto")
        case BrokerKind.AMQTT if not amqtt:
            raise UnavailableError("amqtt is not installed: pip install 'evse-mqtt-bridge[demo]'")
        case BrokerKind.AUTO if not mosquitto and not amqtt:
            raise UnavailableError(
                "no broker is installed: install the package mosquitto, or pip install 'evse-mqtt-bridge[demo]'"
            )
        case BrokerKind.AUTO:
            return BrokerKind.MOSQUITTO if mosquitto else BrokerKind.AMQTT
    return kind


@asynccontextmanager
async def embedded_broker(port: int, kind: BrokerKind = BrokerKind.AUTO) -> AsyncIterator[EmbeddedBroker]:
    """Starts a broker on `port` of 127.0.0.1, and ends it.

    Raises:
        UnavailableError: there is none to start, or it did not start; the text says why.
    """
    recipe = _mosquitto_recipe(port) if choose(kind) is BrokerKind.MOSQUITTO else _amqtt_recipe(port)
    if free_port(port) != port:
        raise UnavailableError(f"port {port} of {HOST} is taken by another program")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config, tempfile.TemporaryFile() as output:
        config.write(recipe.config)
        config.flush()
        process = await asyncio.create_subprocess_exec(
            *recipe.command,
            config.name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            await _started(process, port, recipe.name, output)
            yield EmbeddedBroker(recipe.name, port, recipe.protocol)
        finally:
            await _end(process)


def _mosquitto(path: str | None = None) -> str | None:
    if path is None:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    return shutil.which("mosquitto", path=path)


def _mosquitto_recipe(port: int) -> _Recipe:
    lines = (
        f"listener {port} {HOST}",
        "allow_anonymous true",
        "persistence false",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
    )
    return _Recipe("Mosquitto", "5", (_mosquitto() or "mosquitto", "-c"), "\n".join(lines) + "\n")


def _amqtt_recipe(port: int) -> _Recipe:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    command = (sys.executable, "-m", "amqtt.scripts.broker_script", "-c")
    return _Recipe("amqtt", "3.1.1", command, json.dumps(config))  # JSON is YAML, which amqtt reads


async def _started(process: asyncio.subprocess.Process, port: int, name: str, output: IO[bytes]) -> None:
    try:
        async with asyncio.timeout(START_LIMIT):
            while not await _accepts(port):
                if process.returncode is not None:
                    output.seek(0)
                    lines = output.read().decode(errors="replace").split("\n")
                    raise UnavailableError(f"{name} ended at once: {'; '.join(filter(None, lines[-4:]))}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise UnavailableError(f"{name} does not listen on port {port} after {START_LIMIT:g} s") from None


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
