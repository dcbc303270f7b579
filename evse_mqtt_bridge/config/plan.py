"""Derives the publishing plan from a configuration."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.digest import discovery_digest
from evse_mqtt_bridge.config.schema import Config, Polling, StationConfig
from evse_mqtt_bridge.config.shard_settings import is_assigned_by_engine
from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.resolution import Resolution
from evse_mqtt_bridge.domain.shards import ALL, Claim, Share
from evse_mqtt_bridge.publishing.orphans import Ownership
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.homeassistant.output import HomeAssistant
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics
from evse_mqtt_bridge.publishing.outputs.protocol import Output
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Plans", "ownership", "publishing_plan"]


def publishing_plan(config: Config) -> Plan:
    """Return the stations, topics and rules of a configuration, without connections and secrets.

    With `[fleet]`, it is the plan of all shards together, whose bridge is shard 0.
    """
    return Plans(config).joint


class Plans:
    """The publishing plans of a configuration: one for each shard, and one for all."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._topics = Topics(config.mqtt.base_topic)

    @cached_property
    def joint(self) -> Plan:
        """The plan of all shards together."""
        return self._plan(self._topics, ALL, self._config.stations)

    def of_stations(self, uuids: Container[str]) -> Plan:
        """Return the joint plan of the shards that have these stations."""
        stations = {uuid: station for uuid, station in self.joint.stations.items() if uuid in uuids}
        return replace(self.joint, stations=stations)

    def shard(self, share: Share, claim: Claim | None) -> Plan:
        """Return the plan of a shard, with the claim to publish."""
        if claim is None:
            return self.joint
        stations = [entry for entry in self._config.stations if share.has(entry.uuid)]
        plan = self._plan(self._topics.of_shard(share.number), share, stations)
        digest = discovery_digest(self._config) if is_assigned_by_engine(self._config) else ""
        return replace(plan, claim=claim, uuids=self._uuids if share.shards > 1 else {}, discovery_digest=digest)

    @cached_property
    def _uuids(self) -> Mapping[str, str]:
        """The uuid of each station by topic id; all shards share the mapping."""
        return {entry.alias or entry.uuid: entry.uuid for entry in self._config.stations}

    def _plan(self, topics: Topics, share: Share, stations: Iterable[StationConfig]) -> Plan:
        config = self._config
        plain = PlainTopics(topics)
        return Plan(
            topics=topics,
            client_id=config.mqtt.client_id,
            stations={entry.uuid: entry.station(config.polling) for entry in stations},
            rules=_rules(config.polling),
            outputs=(plain, _home_assistant(config, topics)) if config.homeassistant.enabled else (plain,),
            birth_topic=config.homeassistant.status_topic if config.homeassistant.enabled else "",
            share=share,
        )


def _rules(polling: Polling) -> Rules:
    resolution = Resolution(polling.power_decimals, polling.current_decimals)
    return Rules(polling.offline_after, polling.stale_after, polling.heartbeat, resolution)


def ownership(config: Config) -> Ownership:
    """Return how to find the topics of the bridge; discovery topics are included even if discovery is disabled."""
    plan, settings = publishing_plan(config), config.homeassistant
    plain, *_ = plan.locations
    searched = (plain, DiscoveryLocation(settings.discovery_prefix, settings.discovery))
    shards = config.fleet.shards if config.fleet else 0
    return Ownership(plan.topics, plan.client_id, plan.stations, plan.locations, searched, shards)


def _home_assistant(config: Config, topics: Topics) -> Output:
    settings = config.homeassistant
    return HomeAssistant(
        Discovery(
            topics=topics,
            prefix=settings.discovery_prefix,
            form=settings.discovery,
            qos=config.mqtt.qos,
            bridge_id=config.mqtt.client_id,
            version=__version__,
            page_url=config.http.page_url,
        )
    )
