"""The port to the part of the bridge that runs the shards of a member."""

from collections.abc import Collection, Sequence
from typing import Protocol

from evse_mqtt_bridge.domain.shards import Claim

__all__ = ["Runner"]


class Runner(Protocol):
    """Runs the shards of the member."""

    @property
    def is_fit(self) -> bool:
        """Whether the member can do its work, above all reach the broker."""

    @property
    def is_link_current(self) -> bool:
        """Whether the link, the member's own connection, has read the claims on the broker."""

    @property
    def is_link_expected(self) -> bool:
        """Whether the link is about to read the claims; otherwise, nothing waits for it."""

    @property
    def cloud_pause(self) -> float:
        """Seconds for which the cloud requested that nobody sends a request; 0: it did not."""

    def published_claim(self, shard: int) -> Claim | None:
        """Return the claim on the broker; `None`: there is none, or it is not known."""

    def stations(self, shard: int) -> int:
        """Return the number of stations of a shard."""

    def begin(self, claims: Sequence[Claim], continued: Collection[int]) -> None:
        """Run these shards.

        Args:
            claims: The claims of the shards.
            continued: The shards whose stations another member polled until now.
        """

    def renumber(self, claim: Claim) -> None:
        """Publish another claim of a shard that runs."""

    async def hand_over(self, shards: Collection[int]) -> None:
        """Stop these shards; publish what is pending, but not `offline`."""

    async def drop(self, shards: Collection[int]) -> None:
        """Stop these shards, and publish nothing."""

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Allow or forbid all shards to clear topics."""

    def hold(self, seconds: float) -> None:
        """Send no request to the cloud for this time."""
