"""Snapshots of bridges that do not run, and a server that serves them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    PlugSnapshot,
    Snapshot,
    StationSnapshot,
    to_json,
)
from tests.harness.net import HOST

__all__ = ["AT", "OFFLINE", "REJECTED", "SITE", "SnapshotServer", "plug", "serve_snapshot", "snapshot", "station"]

AT = datetime(2026, 3, 25, 11, 12, 20, tzinfo=UTC)

_PLUG = PlugSnapshot(
    uuid="c" * 32,
    name="Plug 1",
    topic="",
    status="charging",
    power=7107.0,
    current_l1=10.3,
    current_l2=10.3,
    current_l3=10.3,
    dyn_current_limit=12.0,
    time=AT - timedelta(seconds=12),
    reason=Reason.ONLINE,
    since=AT - timedelta(hours=2, minutes=5),
    steps=((29_500_000, 7107.0), (29_500_001, None)),
)


def plug(name: str = "Plug 1", **changed: Any) -> PlugSnapshot:  # noqa: ANN401  # passed on to replace
    """Return a plug that charges, with these attributes changed."""
    return replace(_PLUG, name=name, uuid=name.lower().replace(" ", "-")[:64], **changed)


def station(name: str, *plugs: PlugSnapshot, **changed: Any) -> StationSnapshot:  # noqa: ANN401  # same
    """Return a station that is online, with these attributes changed; its alias is derived from its name."""
    alias = name.lower().replace(" ", "-")
    healthy = StationSnapshot(
        uuid=f"uuid-of-{alias}",
        name=name,
        topic=f"evse/{alias}",
        interval=30,
        reason=Reason.ONLINE,
        since=AT - timedelta(hours=2, minutes=5),
        polled=AT - timedelta(seconds=3),
        consecutive_failures=0,
        error="",
        error_at=None,
        note="",
        plugs=plugs,
        revision=7,
    )
    return replace(healthy, **changed)


def snapshot(*stations: StationSnapshot, **changed: Any) -> Snapshot:  # noqa: ANN401  # same
    """Return a healthy bridge with these stations, with these attributes changed."""
    healthy = Snapshot(
        at=AT,
        bridge=BridgeSnapshot(
            version="1.2.3",
            client_id="evse-mqtt-bridge",
            base_topic="evse",
            started=AT - timedelta(days=3, hours=4),
            cloud="https://cloud.example.com",
            transport="libcurl",
        ),
        broker=BrokerSnapshot("broker.example.com:1883", connected=True, since=AT - timedelta(minutes=4), error=""),
        health=Health(healthy=True, ready=True, messages=()),
        stations=stations,
        revision=7,
    )
    return replace(healthy, **changed)


REJECTED: dict[str, Any] = {
    "reason": Reason.UNAUTHORIZED,
    "since": AT - timedelta(minutes=125),
    "consecutive_failures": 9,
    "error": "HTTP 401 Unauthorized: the token was rejected",
    "error_at": AT - timedelta(seconds=12),
    "next_poll": AT + timedelta(minutes=14),
}
"""Changes that make a station one whose token the cloud rejects."""

OFFLINE: dict[str, Any] = {"status": "offline", "reason": Reason.OFFLINE, "since": AT - timedelta(seconds=40)}
"""Changes that make a plug offline."""

SITE = (
    station("Garage north", plug("Left"), plug("Right", status="idle", power=0.0)),
    station(
        "Garage south", *(plug(name, reason=Reason.UNAUTHORIZED, power=None) for name in ("Left", "Right")), **REJECTED
    ),
    station("Yard", plug("Plug 1", **OFFLINE)),
    station("Attic", reason=None, since=None, polled=None),
)
"""Stations in various states."""


@dataclass
class SnapshotServer:
    """A server at `url`.

    Attributes:
        url: Address of the server.
        body: Body of every response.
        status: Status of every response.
        paths: Paths that were requested.
    """

    url: str
    body: bytes = b""
    status: int = 200
    paths: list[str] = field(default_factory=list)

    def serve(self, served: Snapshot) -> None:
        """Respond with this snapshot from now on."""
        self.body, self.status = to_json(served), 200


@contextmanager
def serve_snapshot(*stations: StationSnapshot, **changed: Any) -> Iterator[SnapshotServer]:  # noqa: ANN401  # same
    """Yield a server of `snapshot(...)`, whose response can be changed later."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page.paths.append(self.path)
            self.send_response(page.status)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        page = SnapshotServer(f"http://{HOST}:{server.server_address[1]}")
        page.serve(snapshot(*stations, **changed))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield page
        finally:
            server.shutdown()
            thread.join(10)
