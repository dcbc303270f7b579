"""HTTP server of the simulated API: status requests with tokens, faults and TLS."""

import asyncio
import json
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from evse_mqtt_bridge.simulator.faults import NO_FAULTS, Fault, Faults
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation
from evse_mqtt_bridge.support.errors import BridgeError
from evse_mqtt_bridge.support.http_connection import Connection
from evse_mqtt_bridge.support.listening import listen_error
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean

__all__ = ["STATUS_PATH", "SimulatorError", "SimulatorServer"]

STATUS_PATH = "/edgedevices/{edge_device_id}/evses/{uuid}/status"
"""Path of the status request in the vendor's API."""

_HEADERS = {"Server": "evse-mqtt-bridge-simulator"}
"""Headers of every response."""

_HTML_PAGE = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>\n"


class SimulatorError(BridgeError):
    """The simulator cannot listen on its address."""


class SimulatorServer:
    """Serves a simulation, as an async context manager.

    Args:
        simulation: The stations to serve.
        host: Name or address to listen on.
        port: Port to listen on; 0 selects a free port.
        faults: The faults to inject into responses.
        tls: The TLS context; `None` serves plain HTTP.
        now: Returns the current time with a time zone.
        on_request: Called with one line for each request; it contains no tokens.

    Raises:
        SimulatorError: On entering the context, if the server cannot listen on `host` and `port`.
    """

    def __init__(  # noqa: PLR0913  # optional settings, by keyword
        self,
        simulation: Simulation,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        faults: Faults = NO_FAULTS,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_request: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.host = host
        self.port = port
        self._simulation = simulation
        self._faults = faults
        self._tls = tls
        self._now = now
        self._on_request = on_request
        self._requests: Counter[str] = Counter()
        app = web.Application()
        app.on_response_prepare.append(_name_server)
        app.router.add_get(STATUS_PATH, self._status, allow_head=False)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._unknown)
        self._log = logging.getLogger(__name__)
        self._log.addFilter(_is_server_error)
        self._listener: asyncio.Server | None = None
        # Cancelled handlers end delayed responses when the client disconnects or the server stops.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """Value for `cloud.base_url` on this machine; port 0 is replaced when the context is entered."""
        return f"{'https' if self._tls else 'http'}://{host_and_port(local_address(self.host), self.port)}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connection, self.host, self.port, ssl=self._tls
            )
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            reason = listen_error(error)
            raise SimulatorError(
                f"cannot listen on {self.host} port {self.port}: {reason}; choose another --port or --host"
            ) from None
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()

    def _connection(self) -> Connection:
        assert self._runner.server is not None  # noqa: S101  # set by setup()
        return Connection(self._runner.server, _HEADERS, self._log)

    async def _unknown(self, request: web.Request) -> web.Response:
        self._on_request(clean(f"status 404: {request.method} {request.path}", 200))
        return web.json_response({"message": "no such station"}, status=404)

    async def _status(self, request: web.Request) -> web.Response:
        station = self._simulation.find(request.match_info["edge_device_id"], request.match_info["uuid"])
        if station is None:
            return await self._unknown(request)
        if request.headers.get("evsetoken") != station.token:
            self._on_request(f"{station.name}: status 401")
            return web.json_response({"message": "missing or wrong token"}, status=401)
        number = self._requests[station.uuid]
        self._requests[station.uuid] += 1
        fault = self._faults.of(station.uuid, number)
        self._on_request(f"{station.name}: {fault or 'status 200'}")
        return await self._respond(request, station, fault)

    async def _respond(self, request: web.Request, station: SimulatedStation, fault: Fault | None) -> web.Response:
        body = json.dumps(self._simulation.response(station, self._now()))
        match fault:
            case Fault.SERVER_ERROR:
                return web.json_response({"message": "internal server error"}, status=500)
            case Fault.UNAVAILABLE:
                # Relative to the Date header, which has the time of this machine.
                until = datetime.now(UTC) + timedelta(seconds=self._faults.retry_after)
                headers = {"Retry-After": format_datetime(until, usegmt=True)}
                return web.json_response({"message": "unavailable"}, status=503, headers=headers)
            case Fault.RATE_LIMITED:
                headers = {"Retry-After": str(self._faults.retry_after)}
                return web.json_response({"message": "too many requests"}, status=429, headers=headers)
            case Fault.SLOW:
                await asyncio.sleep(self._faults.slow)
            case Fault.DROPPED if request.transport is not None:
                request.transport.abort()
            case Fault.TRUNCATED:
                body = body[: len(body) // 2]
            case Fault.HTML:
                return web.Response(text=_HTML_PAGE, content_type="text/html")
        return web.json_response(text=body)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _is_server_error(record: logging.LogRecord) -> bool:
    """Return whether a log record of aiohttp reports a bug, and not a malformed request, which gets status 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
