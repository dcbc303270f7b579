"""Derives the publishing plan from a configuration."""

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.schema import Config, Polling
from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.resolution import Resolution
from evse_mqtt_bridge.publishing.orphans import Ownership
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.homeassistant.output import HomeAssistant
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics
from evse_mqtt_bridge.publishing.outputs.protocol import Output
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["ownership", "publishing_plan"]


def publishing_plan(config: Config) -> Plan:
    """Return the stations, topics and rules of a configuration, without connections and secrets."""
    topics = Topics(config.mqtt.base_topic)
    plain = PlainTopics(topics)
    return Plan(
        topics=topics,
        client_id=config.mqtt.client_id,
        stations={entry.uuid: entry.station(config.polling) for entry in config.stations},
        rules=_rules(config.polling),
        outputs=(plain, _home_assistant(config, topics)) if config.homeassistant.enabled else (plain,),
        birth_topic=config.homeassistant.status_topic if config.homeassistant.enabled else "",
    )


def _rules(polling: Polling) -> Rules:
    resolution = Resolution(polling.power_decimals, polling.current_decimals)
    return Rules(polling.offline_after, polling.stale_after, polling.heartbeat, resolution)


def ownership(config: Config) -> Ownership:
    """Return how to find the topics of the bridge; discovery topics are included even if discovery is disabled."""
    plan, settings = publishing_plan(config), config.homeassistant
    plain, *_ = plan.locations
    searched = (plain, DiscoveryLocation(settings.discovery_prefix, settings.discovery))
    return Ownership(plan.topics, plan.client_id, plan.stations, plan.locations, searched)


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
