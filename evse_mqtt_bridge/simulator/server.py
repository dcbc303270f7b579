"""The HTTP front of a simulation: the vendor's status request, with tokens, faults and TLS."""

import asyncio
import json
import logging
import os
import socket
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
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean

__all__ = ["STATUS_PATH", "SimulatorError", "SimulatorServer"]

STATUS_PATH = "/edgedevices/{edge_device_id}/evses/{uuid}/status"
"""The path of the vendor's API."""

_WEB_PAGE = "<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>\n"


class SimulatorError(BridgeError):
    """The simulator cannot be started as asked."""


class SimulatorServer:
    """Serves `simulation` while its context is entered; `port` 0 takes any that is free.

    `now` is the time of day in UTC. `on_request` gets a line without secrets for each request.

    Raises:
        SimulatorError: on entering, where `host` and `port` cannot be listened on.
    """

    def __init__(  # noqa: PLR0913  # settings by keyword, each with a default
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
        app.router.add_get(STATUS_PATH, self._status, allow_head=False)
        app.router.add_route("*", r"/{path:[\s\S]*}", self._unknown)
        log = logging.getLogger(__name__)
        log.addFilter(_is_the_simulators_fault)
        # Slow answers end with their client, and with the server.
        self._runner = web.AppRunner(app, logger=log, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """What `cloud.base_url` has to be on this machine; `port` is known once the context is entered."""
        return f"{'https' if self._tls else 'http'}://{host_and_port(local_address(self.host), self.port)}"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SimulatorError(
                f"cannot listen on {self.host} port {self.port}: {_reason(error)}; choose another --port or --host"
            ) from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _unknown(self, request: web.Request) -> web.Response:
        self._on_request(clean(f"status 404: {request.method} {request.path}", 200))
        return web.json_response({"message": "no such station"}, status=404)

    async def _status(self, request: web.Request) -> web.Response:
        station = self._simulation.find(request.match_info["edge_device_id"], request.match_info["uuid"])
        if station is None:
            return await self._unknown(request)
        if request.headers.get("evsetoken") != station.token:
            self._on_request(f"{station.name}: status 401")
            return web.json_response({"message": "no token, or not this station's"}, status=401)
        number = self._requests[station.uuid]
        self._requests[station.uuid] += 1
        fault = self._faults.of(station.uuid, number)
        self._on_request(f"{station.name}: {fault or 'status 200'}")
        return await self._answer(request, station, fault)

    async def _answer(self, request: web.Request, station: SimulatedStation, fault: Fault | None) -> web.Response:
        body = json.dumps(self._simulation.answer(station, self._now()))
        match fault:
            case Fault.SERVER_ERROR:
                return web.json_response({"message": "internal server error"}, status=500)
            case Fault.UNAVAILABLE:
                # By the clock of the Date header, which is the machine's.
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
                return web.Response(text=_WEB_PAGE, content_type="text/html")
        return web.json_response(text=body)


def _is_the_simulators_fault(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's is worth a look: what is no HTTP is the client's fault, and answered with 400."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _reason(error: OSError) -> str:
    """Why an address cannot be listened on, without the address, which asyncio puts into its own text."""
    if isinstance(error, socket.gaierror):
        return clean(error.strerror or "the name could not be resolved", 160)
    if error.errno:
        return os.strerror(error.errno).lower()
    # From Python 3.13 on asyncio tells neither number nor reason where it could bind to no address of a name.
    return "the address is taken, or not this machine's"
