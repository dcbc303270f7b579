"""Divides the shards between the eligible members: who claims a free shard, and which shard moves. Pure."""

import zlib
from collections.abc import Sequence

from evse_mqtt_bridge.fleet.port import MemberRecord, View

__all__ = ["Balance"]


class Balance:
    """Divides shards between the eligible members.

    Args:
        name: The name of this member.
        own: Its record.
        view: The view.
        running: The shards that run here; the engine may have lost their claims.

    Attributes:
        counts: The number of shards of each eligible member.
    """

    def __init__(self, name: str, own: MemberRecord, view: View, running: Sequence[int]) -> None:
        present = [each for each in view.members.values() if not each.is_draining and each.shards == own.shards]
        fit = [each for each in present if each.is_fit] or present
        steady = [each for each in fit if each.is_steady] or fit
        self._name = name
        self._running = running
        self.counts = dict.fromkeys((each.name for each in steady), 0)
        self._others = [each.name for each in fit if each.name not in self.counts]
        holders = {shard: holder.member for shard, holder in view.holders.items() if shard < own.shards}
        for member in (holders | dict.fromkeys(running, name)).values():
            if member in self.counts:
                self.counts[member] += 1

    @property
    def are_others_eligible(self) -> bool:
        """Whether there are eligible members, and this member is none of them."""
        return bool(self.counts) and self._name not in self.counts

    def assign(self, shard: int) -> str | None:
        """Return the eligible member with the fewest shards, and count the shard as its; `None`: there is none."""
        if not self.counts:
            return None
        member = self._by_need(shard)[0]
        self.counts[member] += 1
        return member

    def successors(self, shard: int) -> list[str]:
        """Return the others in the order in which they should get a shard, and count it as that of the first."""
        eligible = self._by_need(shard)
        self.counts[eligible[0]] += 1
        return [*eligible, *(name for name in self._others if name != self._name)]

    def move(self) -> tuple[int, list[str]] | None:
        """Return the shard that this member hands over for balance, with its successors; `None`: none."""
        fullest = max(self.counts, key=lambda member: (self.counts[member], member), default=None)
        if fullest != self._name:
            return None
        fewest = min(self.counts, key=lambda member: (self.counts[member], member))
        if self.counts[fullest] - self.counts[fewest] <= 1:
            return None
        return min(self._running, key=lambda shard: _rank(fewest, shard)), [fewest]

    def _by_need(self, shard: int) -> list[str]:
        return sorted(self.counts, key=lambda member: (self.counts[member], _rank(member, shard)))


def _rank(member: str, shard: int) -> tuple[int, str]:
    """Return a rank of a member for a shard, which spreads the shards between members with equally many."""
    return zlib.crc32(f"{member}/{shard}".encode()), member
