"""The fleet of a running bridge, as the snapshot and the metrics have it; from the last view of the engine. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from evse_mqtt_bridge.fleet.port import MemberRecord, View

__all__ = ["FleetMemberSnapshot", "FleetSnapshot", "member_snapshots", "member_state", "shard_ranges"]


@dataclass(frozen=True, slots=True)
class FleetMemberSnapshot:
    """A member that is alive.

    Attributes:
        name: Its name.
        state: "running", "starting", "unfit" or "draining".
        shards: The shards that it holds.
        version: The version of the bridge.
        page: The URL of its status page; empty: it has none.
    """

    name: str
    state: str
    shards: tuple[int, ...]
    version: str
    page: str


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet, as one member sees it.

    Attributes:
        engine: "etcd", "kubernetes" or "static".
        member: The name of this member.
        shards: The number of all shards.
        held: The shards that run in this process.
        connected: Whether the engine answered the last beat; true with static shares.
        answered: When the engine answered last, in UTC; `None`: never, or the shares are static.
        conflict: Why the members cannot work together as usual; empty: they can.
        members: The members that are alive, at the last answer; none with static shares.
    """

    engine: str
    member: str
    shards: int
    held: tuple[int, ...]
    connected: bool
    answered: datetime | None = None
    conflict: str = ""
    members: tuple[FleetMemberSnapshot, ...] = ()

    @property
    def free(self) -> tuple[int, ...]:
        """The shards that no member held at the last answer; none if that is not known."""
        held = {number for member in self.members for number in member.shards}
        return tuple(number for number in range(self.shards) if number not in held) if self.members else ()

    @property
    def problem(self) -> str:
        """What is wrong with the fleet, as a sentence without a full stop; empty: nothing."""
        if not self.connected:
            return f"{self.engine} does not answer, so no shard moves to another member: see the log"
        return f"fleet: {self.conflict}" if self.conflict else ""


def member_snapshots(view: View) -> tuple[FleetMemberSnapshot, ...]:
    """Return the members of a view, by name."""
    held = _held(view)
    return tuple(
        FleetMemberSnapshot(
            name, member_state(member, view), tuple(sorted(held.get(name, ()))), member.version, member.page
        )
        for name, member in sorted(view.members.items())
    )


def member_state(member: MemberRecord, view: View) -> str:
    """Return the state of a member as one word."""
    if member.is_draining or member.name in view.drains:
        return "draining"
    if not member.is_fit:
        return "unfit"
    return "running" if member.is_steady else "starting"


def shard_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text, such as `0-3, 7`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _held(view: View) -> Mapping[str, list[int]]:
    """Return the shards of each member."""
    held: dict[str, list[int]] = {}
    for number, holder in view.holders.items():
        held.setdefault(holder.member, []).append(number)
    return held
