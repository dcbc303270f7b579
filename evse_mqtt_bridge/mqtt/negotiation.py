"""Connects with the MQTT version that the broker accepts."""

from collections.abc import Awaitable, Callable

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.mqtt.errors import Disconnected, VersionDoubt
from evse_mqtt_bridge.mqtt.versions import MqttVersion, Version

__all__ = ["negotiate"]


async def negotiate(
    version: Version, attempt: Callable[[MqttVersion], Awaitable[Connection | Disconnected]]
) -> tuple[Version, Connection | Disconnected]:
    """Connect with the current version, and at once with the other one if that may be the reason of a failure.

    Args:
        version: The version in use.
        attempt: Tries to connect once with a version.

    Returns:
        The version for the next connection, and the connection, or the reason why it failed.
    """
    result = await attempt(version.current)
    if not isinstance(result, Disconnected):
        return version.accepted(), result
    other = version.alternative(result)
    if other is None:
        return version, result
    second = await attempt(other.current)
    if not isinstance(second, Disconnected):
        return other.accepted(), second
    return (other, second) if result.version_doubt is VersionDoubt.CERTAIN else (version, result)
