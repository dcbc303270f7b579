"""The port to the engine of a fleet, the service in which the members keep who is alive and who holds which shard.

Every member calls `beat` a few times per `fleet.ttl`. When the engine received nothing from a member for that time, it
drops the member and its claims. A shard has at most one holder. Claim numbers of a shard only grow, so that of two
members that both believe to hold a shard, the one with the higher number does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "CALL_LIMIT",
    "Engine",
    "EngineAdministration",
    "EngineRefusedError",
    "EngineUnavailableError",
    "Holder",
    "MemberRecord",
    "View",
]

CALL_LIMIT = 2.0
"""Maximum duration of a request to one endpoint of an engine, in seconds."""


class EngineUnavailableError(Exception):
    """No endpoint of the engine answered in time; the text is a sentence for people. Calls may succeed later."""


class EngineRefusedError(Exception):
    """The engine refused the credentials, or lacks a right; the text is a sentence that says what to change."""


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What a member publishes about itself in the engine.

    Attributes:
        name: The name of the member, which no other has.
        instance: Identifies the process; differs after each start.
        shards: The number of shards in its configuration, 1 to 64.
        digest: Identifies the part of its configuration that determines what is published.
        version: The version of the bridge.
        is_fit: Whether it can do its work, above all reach the broker.
        is_steady: Whether it has run for long enough to get shards from others.
        is_draining: Whether it gives its shards away, because it stops or was asked to.
        page: The URL of its status page; empty: it has none.
    """

    name: str
    instance: str
    shards: int
    digest: str
    version: str
    is_fit: bool = True
    is_steady: bool = False
    is_draining: bool = False
    page: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a shard.

    Attributes:
        member: The name of the member.
        claim: The claim number, which is higher for each later holder of the shard; at least 1.
    """

    member: str
    claim: int


@dataclass(frozen=True, slots=True)
class View:
    """What the engine contained at one moment.

    Attributes:
        engine_id: Identifies the engine, so that two fleets with one broker but different engines can be detected.
        members: The records of the members that are alive, by name.
        holders: The holders of the shards, by shard; a free shard is missing.
        cloud_pause: Seconds that remain of a pause of all requests to the cloud, which a member shared; 0: none.
        drains: The names of the members that were asked to give their shards away; see `EngineAdministration.drain`.
    """

    engine_id: str
    members: Mapping[str, MemberRecord] = field(default_factory=dict)
    holders: Mapping[int, Holder] = field(default_factory=dict)
    cloud_pause: float = 0.0
    drains: frozenset[str] = frozenset()


class Engine(Protocol):
    """The engine as one member uses it.

    Every method raises `EngineUnavailableError` if no endpoint answered, after at most `CALL_LIMIT` seconds for each
    one that was tried, and `EngineRefusedError` if the engine refused the credentials or a right is missing. A change
    whose call was not answered may have happened or not; the next `beat` shows it.
    """

    async def beat(self, own: MemberRecord) -> View:
        """Keep this member alive, write its record, and return everything, which includes that record.

        A member whose time had run out is registered again; it then holds no shard. If another process with the same
        name is alive, its record is kept and returned: `instance` shows that.
        """

    async def claim(self, shard: int) -> Holder | None:
        """Make this member the holder of a free shard; `None`: another member holds it. Call `beat` first.

        If this member already holds the shard, the result is its current claim.
        """

    async def pass_on(self, shard: int, claim: int, successors: Sequence[str]) -> str | None:
        """Make another member the holder in one step, so that the shard is never free.

        Args:
            shard: The shard.
            claim: The claim number of this member.
            successors: The members to try, in this order; those that are no longer alive are skipped.

        Returns:
            The new holder. `None`: none of `successors` is alive, and the shard is free; or the claim had ended before.
        """

    async def release(self, shard: int, claim: int) -> None:
        """Make a shard free; nothing happens if the claim has ended before."""

    async def holder(self, shard: int) -> Holder | None:
        """Return the holder of a shard; `None`: it is free. Asked before every connection to the broker."""

    async def share_cloud_pause(self, seconds: float) -> None:
        """Share a pause of all requests to the cloud, which `View.cloud_pause` then contains; a longer one stays."""

    async def leave(self) -> None:
        """Remove this member and its claims, so that others need not wait for the end of its time."""

    async def aclose(self) -> None:
        """Close the connections; this does not end the claims."""


class EngineAdministration(Protocol):
    """The engine as commands use it, which are no member. The methods raise the same errors as those of `Engine`."""

    async def observe(self) -> View:
        """Return everything, and change nothing."""

    async def drain(self, member: str, *, is_on: bool) -> bool:
        """Ask a member to give its shards away and to claim none, until it starts anew, or withdraw that.

        Returns:
            Whether the member is alive.
        """

    async def aclose(self) -> None:
        """Close the connections."""
