"""The test rig: cloud, broker, and the bridge's configuration, in a temporary folder."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.broker import Broker
from benchmarks.cloud import Cloud, uuid_of

__all__ = ["Rig", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The bridge's settings in a measurement; the request rate is not limited.

    Attributes:
        interval: Polling interval in seconds, from 1.
        qos: MQTT QoS, 0 or 1.
        discovery: Whether Home Assistant discovery is published.
        connections: Maximum number of concurrent requests.
        transport: The HTTP library, as in `cloud.transport`.
        history: The database, as in `history.url`; empty: the default, also of versions without a history.
    """

    interval: float = 10.0
    qos: int = 1
    discovery: bool = True
    connections: int = 100
    transport: str = "auto"
    history: str = ""


class Rig:
    """A running cloud and broker; use it as a context manager. See `Cloud` for the arguments."""

    def __init__(self, *, changing: float = 0.1, log: bool = False) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="evse-bench-")))
        self.folder.chmod(0o755)  # nginx and Mosquitto started as root may switch to another user
        self.cloud = Cloud(self.folder / "cloud", changing=changing, log=log)
        self.broker = Broker(self.folder / "broker")
        self.config = self.folder / "config.toml"

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.cloud)
            self._stack.enter_context(self.broker)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write_config(self, settings: Settings, stations: range) -> Path:
        """Write the bridge's configuration for the stations with these numbers and return its path."""
        head = (
            f'[mqtt]\nhost = "127.0.0.1"\nport = {self.broker.port}\nqos = {settings.qos}\n'
            f'[cloud]\nbase_url = "{self.cloud.url}"\nca_file = "{self.cloud.ca_file}"\n'
            f"max_concurrency = {settings.connections}\nmax_requests_per_second = 0\n"
            f'transport = "{settings.transport}"\n'
            f"[polling]\ninterval = {settings.interval:g}\n"
            "[http]\nenabled = false\n"
            f"[homeassistant]\nenabled = {str(settings.discovery).lower()}\n"
            + (f'[history]\nurl = "{settings.history}"\n' if settings.history else "")
        )
        tables = (
            f'[[stations]]\nedge_device_id = "edge-{number // 4:05}"\nuuid = "{uuid_of(number)}"\n'
            f'token = "token-{number:026}"\nname = "Garage {number:05}"\n'
            for number in stations
        )
        temporary = self.config.with_suffix(".part")
        temporary.touch(mode=0o600)
        temporary.write_text(head + "".join(tables))
        temporary.replace(self.config)
        return self.config
