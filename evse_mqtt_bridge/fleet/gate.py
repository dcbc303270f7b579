"""Decides whether a shard may connect to the broker, which ends the connection that another member has for it.

- The engine answers: the member may connect unless another one holds the shard.
- The engine does not answer: the member may connect unless the broker has a higher claim of another member. Then the
  shard is fenced: it stops, and the next view decides. Without the broker's claims, the shard waits.
"""

from collections.abc import Callable

from evse_mqtt_bridge.fleet.claim_numbers import ClaimNumbers
from evse_mqtt_bridge.fleet.contact import Contact
from evse_mqtt_bridge.fleet.port import Engine, EngineRefusedError, EngineUnavailableError, Holder
from evse_mqtt_bridge.fleet.runner import Runner

__all__ = ["ShardGate"]


class ShardGate:
    """See the module.

    Args:
        member: The name of this member.
        engine: The engine.
        contact: Whether the engine answers.
        runner: Knows the claims on the broker.
        numbers: The claim numbers of the shards that run here.
        beat_soon: Asks for a beat, which finds out who holds the shards.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of a member on which a connection depends
        self,
        member: str,
        engine: Engine,
        contact: Contact,
        runner: Runner,
        numbers: ClaimNumbers,
        beat_soon: Callable[[], None],
    ) -> None:
        self._member = member
        self._engine = engine
        self._contact = contact
        self._runner = runner
        self._numbers = numbers
        self._beat_soon = beat_soon
        self._fenced: set[int] = set()

    async def may_connect(self, shard: int) -> bool:
        """Return whether the session of a shard may connect to the broker now."""
        if shard not in self._numbers.shards or (self._runner.is_link_expected and not self._runner.is_link_current):
            return False  # the link is reading the manifest, which the shard would have to read otherwise
        if self._contact.is_worth_a_call:
            try:
                holder = await self._engine.holder(shard)
            except (EngineUnavailableError, EngineRefusedError):
                self._contact.call_failed()
            else:
                return self._is_own(holder)
        return self._may_connect_without_engine(shard)

    def pop_fenced(self) -> list[int]:
        """Return the shards that were fenced since the last call, sorted, and forget them."""
        fenced, self._fenced = self._fenced, set()
        return sorted(fenced)

    def _is_own(self, holder: Holder | None) -> bool:
        # Without a holder, the engine has lost the claim, and the next beat claims the shard again.
        is_own = holder is None or holder.member == self._member
        if not is_own:
            self._beat_soon()
        return is_own

    def _may_connect_without_engine(self, shard: int) -> bool:
        if not self._runner.is_link_current or shard not in self._numbers.shards:
            return False
        if not self._numbers.is_surpassed(shard):
            return True
        self._fenced.add(shard)
        self._beat_soon()
        return False
