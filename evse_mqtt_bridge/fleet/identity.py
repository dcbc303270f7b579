"""The identity of a member towards an engine."""

from dataclasses import dataclass

__all__ = ["Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who uses an engine.

    Attributes:
        fleet: The name of the fleet, which its members share, and no other fleet of the engine has.
        member: The name of the member, which no other member of the fleet has.
        ttl: Seconds after which the member is lost if it does not call `beat`; at least 2.
    """

    fleet: str
    member: str
    ttl: int
