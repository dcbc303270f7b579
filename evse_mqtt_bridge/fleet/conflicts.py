"""Detects why the members of a fleet cannot work together as usual, above all different configurations. Pure."""

from collections.abc import Iterable
from enum import Enum

from evse_mqtt_bridge.fleet.port import MemberRecord, View

__all__ = ["Configurations", "Conflict"]


class Conflict(Enum):
    """Why the members cannot work together as usual."""

    NONE = "none"
    NAME_IN_USE = "another process has this member name, or had it within the last fleet.ttl; waiting for its end"
    DIFFERENT_SHARDS = "members have different numbers of shards"
    DIFFERENT_CONFIGURATIONS = "members have different configurations"
    OUTDATED_CONFIGURATION = "a member with a newer configuration is gone; reload the others, or start it again"
    OTHER_FLEET = "another fleet with another engine uses the same client id"


class Configurations:
    """Compares the configurations of the members, including those that are gone."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[str, str]] = {}
        """The last instance and digest of all members so far, by name."""
        self._is_outdated = False
        """Whether another member began to use its configuration later than this one, which has a different one."""

    def on_view(self, view: View, own: MemberRecord) -> Conflict:
        """Return the conflict between the configurations in a view.

        Args:
            view: The view.
            own: The record of this member in the view.
        """
        self._note_digests([each for each in view.members.values() if each.shards == own.shards], own)
        others = [each for each in view.members.values() if each.name != own.name]
        if any(each.shards != own.shards for each in others):
            return Conflict.DIFFERENT_SHARDS
        if any(each.digest != own.digest for each in others):
            return Conflict.DIFFERENT_CONFIGURATIONS
        return Conflict.OUTDATED_CONFIGURATION if self._is_outdated else Conflict.NONE

    def _note_digests(self, members: Iterable[MemberRecord], own: MemberRecord) -> None:
        """Update whether another member has a newer configuration; those of the first view are not newer."""
        current = {each.name: (each.instance, each.digest) for each in members}
        before, self._digests = self._digests, self._digests | current
        changed = {digest for name, (instance, digest) in current.items() if before.get(name) != (instance, digest)}
        if not before or before.get(own.name) != current[own.name]:
            self._is_outdated = False
        elif changed:
            self._is_outdated = own.digest not in changed
