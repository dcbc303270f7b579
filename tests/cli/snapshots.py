"""Pictures of bridges that do not run, and a server that shows what it is told to."""

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

__all__ = ["AT", "Shown", "picture", "plug", "served", "station"]

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


def plug(name: str = "Plug 1", **changed: Any) -> PlugSnapshot:  # noqa: ANN401  # as replace has it
    """A plug that charges, but for what is `changed`."""
    return replace(_PLUG, name=name, uuid=name.lower().replace(" ", "-")[:64], **changed)


def station(name: str, *plugs: PlugSnapshot, **changed: Any) -> StationSnapshot:  # noqa: ANN401  # same
    """A station that is online, but for what is `changed`; its alias is its name in small letters, with hyphens."""
    alias = name.lower().replace(" ", "-")
    well = StationSnapshot(
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
    return replace(well, **changed)


def picture(*stations: StationSnapshot, **changed: Any) -> Snapshot:  # noqa: ANN401  # same
    """A bridge that is well, with these stations, but for what is `changed`."""
    well = Snapshot(
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
    return replace(well, **changed)


@dataclass
class Shown:
    """What is answered at `url`; `asked` are the paths that were asked for."""

    url: str
    body: bytes = b""
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def show(self, shown: Snapshot) -> None:
        """Answer with this picture."""
        self.body, self.status = to_json(shown), 200


@contextmanager
def served(*stations: StationSnapshot, **changed: Any) -> Iterator[Shown]:  # noqa: ANN401  # same
    """A server that shows the picture of `picture`, and whatever it is told later."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked.append(self.path)
            self.send_response(shown.status)
            self.send_header("Content-Length", str(len(shown.body)))
            self.end_headers()
            self.wfile.write(shown.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        shown = Shown(f"http://{HOST}:{server.server_address[1]}")
        shown.show(picture(*stations, **changed))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield shown
        finally:
            server.shutdown()
            thread.join(10)
