"""Decides which MQTT version to use, and which one to try after a refusal.

With `mqtt.protocol = "auto"`, the bridge uses MQTT 5, and 3.1.1 once a broker refuses it:

- A broker may name the version as the reason, with return code 1 or reason code 0x84.
- It may close the connection instead of answering CONNECT, or not answer at all. That has many causes, so it counts
  only until a version was accepted: the bridge tries 3.1.1 at once, but stays with it only if the broker accepts it.
"""

from dataclasses import dataclass, replace
from typing import Literal

from evse_mqtt_bridge.mqtt.errors import Disconnected, VersionDoubt

__all__ = ["MqttVersion", "Version"]

MqttVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class Version:
    """The version in use.

    Attributes:
        current: The version to connect with.
        is_fixed: Whether the configuration determines it.
        is_accepted: Whether a broker has accepted it.
    """

    current: MqttVersion
    is_fixed: bool
    is_accepted: bool = False

    @classmethod
    def configured(cls, protocol: Literal["auto", "5", "3.1.1"]) -> "Version":
        """Return the first version to use with a setting of `mqtt.protocol`."""
        return cls("5", is_fixed=False) if protocol == "auto" else cls(protocol, is_fixed=True)

    @property
    def is_fallback(self) -> bool:
        """Whether the broker accepted only the older version."""
        return not self.is_fixed and self.is_accepted and self.current == "3.1.1"

    def accepted(self) -> "Version":
        """Return the state after a broker accepted a connection with this version."""
        return replace(self, is_accepted=True)

    def alternative(self, disconnected: Disconnected) -> "Version | None":
        """Return the version to try at once after a failed attempt; `None`: wait, and try this one again."""
        doubt = disconnected.version_doubt
        if self.is_fixed or doubt is VersionDoubt.NONE or (doubt is VersionDoubt.POSSIBLE and self.is_accepted):
            return None
        return Version("3.1.1" if self.current == "5" else "5", is_fixed=False)
