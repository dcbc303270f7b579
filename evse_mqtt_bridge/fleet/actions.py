"""The actions with which a member follows a view of the engine."""

from dataclasses import dataclass

from evse_mqtt_bridge.fleet.conflicts import Conflict

__all__ = ["Action", "Begin", "Claim", "Decision", "Drop", "HandOver", "Renumber"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Run a shard that this member holds, with this claim number."""

    shard: int
    claim: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Publish another claim number of a shard that runs."""

    shard: int
    claim: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim a shard; report the result to `Allocation.claimed`."""

    shard: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """End a shard, make the first successor that is alive the holder, and report it to `Allocation.handed_over`."""

    shard: int
    claim: int
    successors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop a shard without a message to the broker, because another member holds it."""

    shard: int


Action = Begin | Renumber | Claim | HandOver | Drop


@dataclass(frozen=True, slots=True)
class Decision:
    """What a member does after a view.

    Attributes:
        actions: In this order.
        conflict: Why the members cannot work together as usual.
        may_clear: Whether topics of removed stations may be cleared.
    """

    actions: tuple[Action, ...] = ()
    conflict: Conflict = Conflict.NONE
    may_clear: bool = False
