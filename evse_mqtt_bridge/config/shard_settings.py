"""Derives the settings of the fleet, and of the broker connection of each shard."""

from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.shards import Share

__all__ = ["fleet_name", "is_assigned_by_engine", "shard_client_id", "shard_settings", "shares"]


def is_assigned_by_engine(config: Config) -> bool:
    """Return whether an engine assigns the shards to the members while they run."""
    return config.fleet is not None and config.fleet.engine != "static"


def fleet_name(config: Config) -> str:
    """Return the name of the fleet in the engine; empty: the configuration has no fleet."""
    return config.fleet.name or config.mqtt.base_topic if config.fleet else ""


def shares(config: Config) -> dict[int, Share]:
    """Return the shards that the configuration assigns to this process, by number: without `[fleet]`, the only one."""
    fleet = config.fleet
    if fleet is None:
        return {0: Share()}
    return {number: Share(number, fleet.shards) for number in sorted(fleet.numbers)}


def shard_client_id(client_id: str, shard: int) -> str:
    """Return the MQTT client id of the connection of a shard."""
    return f"{client_id}-{shard}" if shard else client_id


def shard_settings(config: Config, shard: int) -> Mqtt:
    """Return the settings of the connection of a shard; without `[fleet]`, those of the configuration."""
    settings, fleet = config.mqtt, config.fleet
    if fleet is None:
        return settings
    keepalive = settings.keepalive
    if "keepalive" not in settings.model_fields_set:
        keepalive = min(keepalive, fleet.ttl)
    client_id = shard_client_id(settings.client_id, shard)
    return settings.model_copy(update={"client_id": client_id, "keepalive": keepalive, "protocol": "5"})
