"""Notices another fleet on the same broker that has the same client id and another engine. Pure.

Each of the two engines assigns every shard, so the members of both fleets disconnect each other without end, and each
engine confirms its own members. The `info` of a shard names the engine of the member that published it last.
"""

from collections.abc import Iterable

from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.port import View

__all__ = ["ForeignFleet"]

_LIMIT = 4
"""Number of views with a foreign claim, more than those without, after which there is a foreign fleet. After the engine
was replaced, the `info` of each shard names the old one until its new holder has connected."""


class ForeignFleet:
    """See the module.

    Attributes:
        is_present: Whether there is a foreign fleet.
    """

    def __init__(self) -> None:
        self._views = 0
        self.is_present = False

    def on_view(self, view: View, published: Iterable[Claim | None]) -> None:
        """Note the claims on the broker.

        Args:
            view: The view of this beat.
            published: The claims of the shards that run here, as the broker has them; `None`: not known.
        """
        if any(claim is not None and _is_foreign(claim, view) for claim in published):
            self._views = min(self._views + 1, 2 * _LIMIT)
        elif self._views:
            self._views -= 1
        self.is_present = self._views >= _LIMIT or (self.is_present and self._views > 0)


def _is_foreign(claim: Claim, view: View) -> bool:
    return claim.engine not in {"", view.engine_id} and claim.member not in view.members
