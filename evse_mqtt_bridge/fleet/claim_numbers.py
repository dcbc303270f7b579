"""The claim numbers under which the shards of a member are published on the broker.

They may exceed those of the engine: an engine that lost its data counts anew, but on the broker, the latest holder must
have the highest number.
"""

from collections.abc import Callable, Collection

from evse_mqtt_bridge.domain.shards import Claim

__all__ = ["ClaimNumbers"]


class ClaimNumbers:
    """The numbers of the shards that run here.

    Args:
        member: The name of this member.
        published_claim: Returns the claim of a shard on the broker; `None`: there is none, or it is not known.

    Attributes:
        engine_id: Identifies the engine in the claims.
    """

    def __init__(self, member: str, published_claim: Callable[[int], Claim | None]) -> None:
        self._member = member
        self._published_claim = published_claim
        self._numbers: dict[int, int] = {}
        self.engine_id = ""

    @property
    def shards(self) -> Collection[int]:
        """The shards that run here."""
        return self._numbers.keys()

    def claim(self, shard: int) -> Claim:
        """Return the claim of a shard that runs here, as it has to be published."""
        return Claim(shard, self._member, self._numbers[shard], self.engine_id)

    def begin(self, shard: int, number: int) -> Claim:
        """Return the claim of a shard that begins, which the engine confirmed with this number."""
        self._numbers[shard] = self._above_others(shard, number)
        return self.claim(shard)

    def renumbered(self, shard: int, number: int) -> Claim | None:
        """Return the claim of a shard after the engine changed its number; `None`: it stays as it is."""
        number = self._above_others(shard, number)
        if number == self._numbers.get(shard):
            return None
        self._numbers[shard] = number
        return self.claim(shard)

    def raised(self, shard: int, number: int) -> Claim | None:
        """Return the claim of a shard if its number must rise above that of another member; `None`: it need not.

        Args:
            shard: The shard; one that does not run here needs no number.
            number: The number that the engine confirmed.
        """
        return self.renumbered(shard, max(number, self._numbers[shard])) if shard in self._numbers else None

    def end(self, shard: int) -> None:
        """Forget the number of a shard that no longer runs here."""
        self._numbers.pop(shard, None)

    def is_surpassed(self, shard: int) -> bool:
        """Return whether the broker has a later claim of another member on a shard that runs here."""
        published = self._published_claim(shard)
        return published is not None and published.member != self._member and published.number > self._numbers[shard]

    def _above_others(self, shard: int, number: int) -> int:
        published = self._published_claim(shard)
        if published is None:
            return number
        return max(number, published.number + (published.member != self._member))
