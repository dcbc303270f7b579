"""A stand-in for the vendor's API whose responses a test sets per station."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port

__all__ = ["EXAMPLE_EVSE", "EXAMPLE_PLUGS", "Answer", "Body", "CloudServer", "Request", "plug_object", "status_example"]

EXAMPLE_EVSE = "25104c56d7f848af830af4300193efb3"
EXAMPLE_PLUGS = ("6bbf9fd56dc24f9697b078d5d8ccda84", "c99838f9eb5b423d98f8ba33389a255c")

_FIXTURES = Path(__file__).parent.parent / "fixtures"


def status_example() -> list[dict[str, Any]]:
    """Return the vendor's published example response: a station with two plugs."""
    answer: list[dict[str, Any]] = json.loads((_FIXTURES / "status-example.json").read_text())
    return answer


def plug_object(**changed: object) -> dict[str, Any]:
    """Return the JSON object of the example's second plug, which is charging, with some fields changed."""
    return {**status_example()[1], **changed}


@dataclass(frozen=True, slots=True)
class Request:
    """A received request.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        headers: Values by lower-case name.
        at: When it arrived, in seconds of `time.monotonic`.
        edge_device_id: From the path of a status request, else empty.
        uuid: The station, from the path of a status request, else empty.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    at: float
    edge_device_id: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        body: Bytes, text, or an object to encode as JSON.
        status: HTTP status code.
        headers: Additional headers.
        delay: Seconds before the response is sent.
        hang: Never respond; the request stays open until the client gives up or the server stops.
    """

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    hang: bool = False

    def encoded(self) -> bytes:
        """Return the body in bytes."""
        match self.body:
            case bytes():
                return self.body
            case str():
                return self.body.encode()
        return json.dumps(self.body).encode()


Body = Answer | bytes | str | list[Any] | dict[str, Any] | Callable[[Request], "Answer | list[Any] | bytes"]


class CloudServer:
    """An HTTP server in its own thread; use it as a context manager.

    A station without a response gets 404. `stop()` and `start()` make the server unreachable and reachable again, on
    the same port.

    Args:
        tls: The context of a TLS server; `None`: plain HTTP.
        port: The port; `None`: a free one.

    Attributes:
        requests: Every request received, in order.
        thread: The server's thread.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int | None = None) -> None:
        self.port = port or free_port()
        self.requests: list[Request] = []
        self._tls = tls
        self._answers: dict[str, Body] = {}
        self._tokens: dict[str, str] = {}
        self._changed = threading.Condition()
        self.thread = LoopThread()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self.thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.thread.stop()

    @property
    def url(self) -> str:
        """The value for `cloud.base_url`."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def answer(
        self,
        uuid: str,
        body: Body,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> None:
        """Set the response for station `uuid`.

        Args:
            uuid: The station.
            body: An `Answer`, a body, or a function of the request that returns either.
            status: HTTP status code; only with a plain body.
            headers: Additional headers; only with a plain body.
            token: The required token; requests with another one get 401. Later calls without a token keep it.
        """
        with self._changed:
            if status != 200 or headers:
                assert not callable(body)
                assert not isinstance(body, Answer)
                body = Answer(body, status, headers or {})
            self._answers[uuid] = body if callable(body) else deepcopy(body)
            if token is not None:
                self._tokens[uuid] = token

    def requests_of(self, uuid: str | None = None) -> list[Request]:
        """Return the requests received so far, for one station or for all."""
        with self._changed:
            return [request for request in self.requests if uuid in (None, request.uuid)]

    def wait_for_requests(self, count: int, uuid: str | None = None, timeout: float = 30) -> list[Request]:
        """Wait for at least `count` requests (for one station or for all) and return all of them."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := [request for request in self.requests if uuid in (None, request.uuid)]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"waited {timeout} s for {count} requests, received {len(found)}"
                self._changed.wait(left)
            return found

    def start(self) -> None:
        """Start listening; does so by itself when the context is entered."""
        self.thread.call(self._start())

    def stop(self) -> None:
        """Close every connection and stop listening; does nothing if the server is stopped."""
        self.thread.call(self._stop())

    # Everything below runs in the server's thread.

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        assert self._runner.server is not None  # set by setup()
        self._server = await self.thread.loop.create_server(
            self._runner.server, HOST, self.port, ssl=self._tls, reuse_address=True
        )

    async def _stop(self) -> None:
        await self.thread.close(self._server)
        self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        request = _request(incoming)
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            body = self._answers.get(request.uuid, Answer({"message": "not found"}, 404))
            token = self._tokens.get(request.uuid)
        if token is not None and request.headers.get("evsetoken") != token:
            body = Answer({"message": "unauthorized"}, 401)
        if callable(body):
            body = body(request)
        answer = body if isinstance(body, Answer) else Answer(body)
        if answer.hang:
            await asyncio.Event().wait()
        if answer.delay:
            await asyncio.sleep(answer.delay)
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers}
        return web.Response(body=answer.encoded(), status=answer.status, headers=headers)


def _request(incoming: web.Request) -> Request:
    at = time.monotonic()
    headers = {name.lower(): value for name, value in incoming.headers.items()}
    match incoming.path.split("/"):
        case ["", "edgedevices", edge_device_id, "evses", uuid, "status"]:
            return Request(incoming.method, incoming.path, headers, at, edge_device_id, uuid)
    return Request(incoming.method, incoming.path, headers, at)
