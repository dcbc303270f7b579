"""Request handlers of the web server. All are read-only.

| route | response |
| --- | --- |
| `/` | the status page |
| `/api/events` | server-sent events that keep the page up to date |
| `/api/picture` | the snapshot as JSON |
| `/api/process` | the process and its last reload as JSON, for clients on this machine only |
| `/api/history`, `/api/energy`, `/api/sessions` | the history; see history.py |
| `/metrics` | metrics for Prometheus |
| `/healthz` | 200 while the bridge works, else 503, with one line of text per problem |
| `/readyz` | 200 while it is connected to the broker, else 503, with the same lines |
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from aiohttp import web

from evse_mqtt_bridge.observability.process_snapshot import to_json as process_json
from evse_mqtt_bridge.observability.snapshot import Health, snapshot_json
from evse_mqtt_bridge.web import page
from evse_mqtt_bridge.web.connections import abort, send, send_document, set_peer_timeout
from evse_mqtt_bridge.web.feed import Feed, render_stations
from evse_mqtt_bridge.web.headers import CLIENT_ID_HEADER
from evse_mqtt_bridge.web.history import HistoryHandlers
from evse_mqtt_bridge.web.security import is_cross_site, is_local_client
from evse_mqtt_bridge.web.source import StatusSource

__all__ = ["Handlers"]


class Handlers:
    """Handles requests with data from the running bridge.

    Args:
        source: The running bridge.
        now: Returns the monotonic time of the event loop, in seconds.
        max_viewers: Maximum number of open event streams; also of concurrent reads of `/api/picture`, because each
            holds its own snapshot, and of reports from the history.
    """

    def __init__(self, source: StatusSource, now: Callable[[], float], max_viewers: int) -> None:
        self.feed = Feed(source, now)
        self.viewers: dict[int, web.Request] = {}
        """Requests with an open event stream, by `id`, because a request is not hashable."""
        self._source = source
        self._now = now
        self._max_viewers = max_viewers
        self._page = page.document()
        self._snapshot_requests = 0
        self._history = HistoryHandlers(source.energy_history, max_viewers)

    def routes(self) -> list[web.RouteDef]:
        """Return all routes."""
        return [
            web.get("/", self._index),
            web.get("/api/events", self._events),
            web.get("/api/picture", self._snapshot),
            web.get("/api/process", self._process),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            *self._history.routes(),
        ]

    def close(self) -> None:
        """End all event streams at once."""
        self.feed.close()
        for request in self.viewers.values():
            abort(request)

    async def _index(self, _request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": self._page.policy}
        return web.Response(body=self._page.html, content_type="text/html", charset="utf-8", headers=headers)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        if self._snapshot_requests >= self._max_viewers:
            return _busy(f"{self._max_viewers} other clients are reading the snapshot. Try again later.\n")
        self._snapshot_requests += 1
        try:
            return await self._send_snapshot(request)
        finally:
            self._snapshot_requests -= 1

    async def _send_snapshot(self, request: web.Request) -> web.StreamResponse:
        return await send_document(request, {"Content-Type": "application/json"}, await self._render_snapshot())

    async def _render_snapshot(self) -> bytes:
        while True:
            plan = self._source.plan
            stations = await render_stations(self._source.stations(), self._now)
            if plan is self._source.plan:  # a reload ends the iteration early
                return snapshot_json(self._source.summary(), stations)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if is_cross_site(request.headers):
            return web.Response(status=403, text="Pages of other sites cannot read the event stream.\n")
        if len(self.viewers) >= self._max_viewers:
            return _busy(f"{self._max_viewers} status pages are open, which is the limit. Close one of them.\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        async with self._viewing(request):
            set_peer_timeout(request)
            await response.prepare(request)
            frame = None
            # Writing to a disconnected client raises, at the latest with the second frame.
            while request.method != "HEAD" and (frame := await self.feed.next(frame)):
                if not await send(request, response, frame.payload):
                    break
        return response

    @asynccontextmanager
    async def _viewing(self, request: web.Request) -> AsyncIterator[None]:
        self.viewers[id(request)] = request
        try:
            yield
        finally:
            del self.viewers[id(request)]
            if not self.viewers:
                self.feed.reset()

    async def _process(self, request: web.Request) -> web.Response:
        if not is_local_client(request.get_extra_info("peername")) or is_cross_site(request.headers):
            return web.Response(status=403, text="Only clients on the machine of the bridge can read this.\n")
        return web.Response(body=process_json(self._source.process()), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._source.metrics(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"content-type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        health = self._source.health()
        response = _health_response(health, ok=health.healthy)
        response.headers[CLIENT_ID_HEADER] = quote(self._source.plan.client_id)
        return response

    async def _readyz(self, _request: web.Request) -> web.Response:
        health = self._source.health()
        return _health_response(health, ok=health.ready)


def _health_response(health: Health, *, ok: bool) -> web.Response:
    return web.Response(status=200 if ok else 503, text="\n".join(health.messages or ("all is well",)) + "\n")


def _busy(text: str) -> web.Response:
    return web.Response(status=503, text=text, headers={"Retry-After": "10"})
