"""The schema of `[fleet]`: several bridges that share the stations."""

from typing import Annotated, Literal

from pydantic import Field

from evse_mqtt_bridge.config.section import Section
from evse_mqtt_bridge.config.value_types import Line, MemberName
from evse_mqtt_bridge.domain.shards import MOST_SHARDS, parse_share

__all__ = ["Fleet"]


class Fleet(Section):
    """`[fleet]`: several bridges that share the stations, enabled by this table."""

    engine: Literal["static"]
    """How the members share the shards. "static": each has those in `share`, and no other takes them over."""
    member: MemberName = ""
    """Name of this member, which no other has. Default: the host name."""
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS)] = 16
    """Number of shards into which the stations are divided; the same on every member."""
    share: Line = ""
    """With "static", the shards of this member: "0-7" or "0, 2, 4", or "0/2" for the first of two equal parts."""
    ttl: Annotated[int, Field(ge=6, le=60)] = 10
    """Half of the time that the broker waits before it publishes `offline` for the shards of a lost member, in seconds.
    Unless you set `mqtt.keepalive`, it is at most this long."""

    @property
    def numbers(self) -> frozenset[int]:
        """The shards in `share`.

        Raises:
            ValueError: `share` is invalid.
        """
        return parse_share(self.share, self.shards)
