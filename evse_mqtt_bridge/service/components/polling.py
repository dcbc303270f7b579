"""Polling as a component: the cloud client, a request per station, and the poller."""

import gc
from collections.abc import Awaitable, Mapping
from typing import Protocol

from evse_mqtt_bridge.cloud.client import CloudClient, StationRequest
from evse_mqtt_bridge.config.schema import Cloud, Config, StationConfig
from evse_mqtt_bridge.domain.model import Outcome
from evse_mqtt_bridge.polling.poller import Clock, OnResult, Poller
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.support.files import file_digest

__all__ = ["HeldShards", "Polling"]


class HeldShards(Protocol):
    """The shards of this process."""

    @property
    def plan(self) -> Plan:
        """Their joint plan, whose stations are polled."""

    @property
    def held_part(self) -> float:
        """The part of all shards that they are, from 0 to 1."""


class Polling(WatchedComponent):
    """Polls the stations of the shards that run in this process, and passes each result to `on_result`.

    Args:
        config: The configuration.
        clock: Sources of time and randomness.
        on_result: Receives the results.
        held: The shards, which have their part of the requests per second.
    """

    def __init__(self, config: Config, clock: Clock, on_result: OnResult, held: HeldShards) -> None:
        self.task = BackgroundTask("poller")
        self._config = config
        self._clock = clock
        self._on_result = on_result
        self._held = held
        self._client = self._prepared = CloudClient(config.cloud)
        self._prepared_ca_digest = ""
        self._ca_digest: str | None = None
        """The digest of the CA file that the client in use has read; `None` before it is opened."""
        self._requests: dict[str, StationRequest] = {}
        self._poller = self._new_poller(config)
        self._assign_stations(config, known={})

    @property
    def settings(self) -> Cloud:
        """The settings of the client in use."""
        return self._config.cloud

    @property
    def transport_name(self) -> str:
        """The library that carries the requests."""
        return self._client.transport_name

    @property
    def poller(self) -> Poller:
        """The poller in use."""
        return self._poller

    @property
    def ca_digest(self) -> str:
        """The digest of the CA file that the client in use has read; empty: it has read none."""
        return self._ca_digest or ""

    async def prepare(self, new: Config) -> None:
        """Open the client; see `Component`. A changed content of `cloud.ca_file` needs another client, too."""
        digest = file_digest(new.cloud.ca_file)
        is_same = new.cloud == self._config.cloud and self._ca_digest in (None, digest)
        client = self._client if is_same else CloudClient(new.cloud)
        self._prepared = await client.__aenter__()
        self._prepared_ca_digest = digest
        if is_same:
            self._ca_digest = digest

    async def start(self) -> None:
        """Poll with the prepared client."""
        self.task.start(self._poller.run())

    async def stop(self) -> None:
        """Cancel the requests under way, and close their connections."""
        await self.task.stop()
        await self._client.aclose()

    def reconfigure(self, new: Config) -> None:
        """Add and remove stations. A client that was replaced in `prepare` gets a poller of its own."""
        old, self._config = self._config, new
        known = {entry.uuid: entry for entry in old.stations if entry.uuid in self._requests}
        if self._prepared is not self._client:
            known = {}
            held_until = self._poller.held_until
            self._client, self._requests = self._prepared, {}
            self._ca_digest = self._prepared_ca_digest
            self._poller = self._new_poller(new)
            if new.cloud.base_url == old.cloud.base_url:  # another API did not request the pause
                self._poller.hold(held_until)
            # The former client, with up to 1 MB of CAs, and its cancelled requests refer to each other. Otherwise they
            # would stay for many reloads, because the bridge collects garbage rarely.
            gc.collect()
        self._poller.set_rate(self._rate(new))
        self._poller.max_backoff = new.polling.max_backoff
        self._assign_stations(new, known)

    def shards_changed(self) -> None:
        """Poll the stations of the shards that run now, with their part of the requests per second."""
        known = {entry.uuid: entry for entry in self._config.stations if entry.uuid in self._requests}
        self._poller.set_rate(self._rate(self._config))
        self._assign_stations(self._config, known)

    def _new_poller(self, config: Config) -> Poller:
        return Poller(
            self._fetch,
            self._on_result,
            self._clock,
            concurrency=config.cloud.max_concurrency,
            rate=self._rate(config),
            max_backoff=config.polling.max_backoff,
        )

    def _rate(self, config: Config) -> float:
        return config.cloud.max_requests_per_second * self._held.held_part

    def _assign_stations(self, config: Config, known: Mapping[str, StationConfig]) -> None:
        """Pass the stations to the poller, which polls at once those whose request is not `known` (by uuid)."""
        stations = [entry for entry in config.stations if entry.uuid in self._held.plan.stations]
        intervals = {entry.uuid: entry.interval or config.polling.interval for entry in stations}
        changed = frozenset(entry.uuid for entry in stations if _is_changed(known.get(entry.uuid), entry))
        for entry in stations:
            if entry.uuid in changed:
                token = entry.token.get_secret_value()
                self._requests[entry.uuid] = self._client.prepare(entry.edge_device_id, entry.uuid, token)
        for uuid in self._requests.keys() - intervals.keys():
            del self._requests[uuid]
        self._poller.assign(intervals, at_once=changed)

    def _fetch(self, uuid: str) -> Awaitable[Outcome]:
        return self._client.fetch(self._requests[uuid])


def _is_changed(known: StationConfig | None, entry: StationConfig) -> bool:
    """Return whether the request of a station has changed."""
    return known is None or (known.edge_device_id, known.token) != (entry.edge_device_id, entry.token)
