"""A stand-in for the vendor's API that answers what a test tells it to."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.harness.net import HOST, free_port

__all__ = ["EXAMPLE_EVSE", "EXAMPLE_PLUGS", "Answer", "Body", "CloudServer", "Request", "plug_object", "status_example"]

EXAMPLE_EVSE = "25104c56d7f848af830af4300193efb3"
EXAMPLE_PLUGS = ("6bbf9fd56dc24f9697b078d5d8ccda84", "c99838f9eb5b423d98f8ba33389a255c")

_FIXTURES = Path(__file__).parent.parent / "fixtures"


def status_example() -> list[dict[str, Any]]:
    """The example answer that the vendor published: a station with two plugs."""
    answer: list[dict[str, Any]] = json.loads((_FIXTURES / "status-example.json").read_text())
    return answer


def plug_object(**changed: object) -> dict[str, Any]:
    """The example's second plug, which is charging, with some fields changed."""
    return {**status_example()[1], **changed}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: header names in lower case, `at` in seconds of `time.monotonic`."""

    method: str
    path: str
    headers: Mapping[str, str]
    at: float
    edge_device_id: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: `body` as bytes, text, or an object that becomes JSON, after `delay` seconds.

    `hang` answers never: the request is held until the client gives up or the server stops.
    """

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    hang: bool = False

    def encoded(self) -> bytes:
        """The body as it is sent."""
        match self.body:
            case bytes():
                return self.body
            case str():
                return self.body.encode()
        return json.dumps(self.body).encode()


Body = Answer | bytes | str | list[Any] | dict[str, Any] | Callable[[Request], "Answer | list[Any] | bytes"]


class CloudServer:
    """An HTTP server in a thread of its own; use it as a context manager.

    A station without an answer gets 404. `stop()` and `start()` make it unreachable and reachable again, on the same
    port. `requests` holds all that came, in order.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.requests: list[Request] = []
        self._tls = tls
        self._answers: dict[str, Body] = {}
        self._tokens: dict[str, str] = {}
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """What goes into `cloud.base_url`."""
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
        """What station `uuid` is answered from now on, until told otherwise.

        `body` may be a function of the request that returns an `Answer`, or its body. With `token`, requests with
        another one get 401; it holds until another is given.
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
        """The requests so far, of one station or of all."""
        with self._changed:
            return [request for request in self.requests if uuid in (None, request.uuid)]

    def wait_for_requests(self, count: int, uuid: str | None = None, timeout: float = 30) -> list[Request]:
        """Returns the requests (of one station, or of all) once there are at least `count`."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := [request for request in self.requests if uuid in (None, request.uuid)]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"waited {timeout} s for {count} requests and saw {len(found)}"
                self._changed.wait(left)
            return found

    def start(self) -> None:
        """Listens (again)."""
        self._call(self._start())

    def stop(self) -> None:
        """Closes every connection and listens no longer; does nothing when it is stopped."""
        self._call(self._stop())

    def _call(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(15)

    # the server's thread

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, ssl_context=self._tls, reuse_address=True).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        held = asyncio.all_tasks() - {asyncio.current_task()}
        for task in held:  # aiohttp cancels them too, but does not wait until they have ended
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

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
