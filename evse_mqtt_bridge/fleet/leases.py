"""Kubernetes' Lease objects as a fleet uses them: their names, labels and fields, and which members are alive.

A fleet has three kinds of Leases, all with the label `evse-mqtt-bridge/fleet`:

| name | kind | fields |
| --- | --- | --- |
| `<fleet>-fleet` | `fleet` | its uid identifies the engine; annotation `pause-until` in the time of the API server |
| `<fleet>-member-<name>` | `member` | holder: the instance; renewed at each beat; annotations `member` and `record` |
| `<fleet>-shard-<n>` | `shard` | holder: the member; `leaseTransitions`: the claim number; label `shard` |

Nothing expires on the server, so each member decides who is alive, as Kubernetes' own clients do: another member is
lost if its renew time does not change for `ttl` on the clock of the reader. Members never compare the clocks of
different machines. The command `fleet status` reads only once, so it compares the renew times, which are by the clocks
of the members, with the time of the API server.
"""

import re
import zlib
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["ANNOTATION", "FLEET_LABEL", "KIND_LABEL", "SHARD_LABEL", "Lease", "LeaseList", "Renewals", "lease_name"]

ANNOTATION = "evse-mqtt-bridge/"
"""Start of the names of annotations."""
FLEET_LABEL = "evse-mqtt-bridge/fleet"
KIND_LABEL = "evse-mqtt-bridge/kind"
SHARD_LABEL = "evse-mqtt-bridge/shard"

_PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LONGEST = 48
"""Maximum length of a part of a name. A label has at most 63 characters."""


class _Object(BaseModel):
    """Base of parts of an object. Unknown fields are kept, because an update replaces the complete object."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


class Metadata(_Object):
    """What all objects have."""

    name: str
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Spec(_Object):
    """What a Lease has."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    lease_transitions: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None


class Lease(_Object):
    """A Lease."""

    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    metadata: Metadata
    spec: Spec = Field(default_factory=Spec)

    @property
    def holder(self) -> str:
        """The holder; empty: there is none."""
        return self.spec.holder_identity or ""

    @property
    def claim(self) -> int:
        """The claim number of a shard."""
        return self.spec.lease_transitions or 0

    def annotation(self, name: str) -> str:
        """Return an annotation; empty: there is none."""
        return self.metadata.annotations.get(f"{ANNOTATION}{name}", "")

    def body(self) -> object:
        """Return the JSON value of the object."""
        return self.model_dump(by_alias=True, exclude_none=True)


class LeaseList(_Object):
    """A list of Leases."""

    items: tuple[Lease, ...]


def lease_name(text: str) -> str:
    """Return a text as part of the name of an object, and as a label; different texts have different results."""
    if _PLAIN.fullmatch(text) and len(text) <= _LONGEST:
        return text
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[: _LONGEST - 9].strip("-")
    return f"{plain or 'x'}-{zlib.crc32(text.encode()):08x}"


class Renewals:
    """When the reader saw each member renew its Lease; pure, with the time passed in as seconds of a monotonic clock.

    After a gap between two readings, in which no member may have reached the API server, the time of the members that
    were alive starts again.

    Args:
        ttl: Seconds without a renewal after which a member is lost.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._seen: dict[str, tuple[str, float]] = {}
        self._read_at: float | None = None

    def update(self, renewals: Mapping[str, str], now: float) -> None:
        """Note what a reading contained.

        Args:
            renewals: The renew time of each member.
            now: The time of the reading.
        """
        lost = set() if self._read_at is None else {name for name in self._seen if not self.is_alive(name)}
        has_gap = self._read_at is not None and now - self._read_at > self._ttl / 2
        before, self._seen, self._read_at = self._seen, {}, now
        for name, renewal in renewals.items():
            known, at = before.get(name, ("", now))
            if known != renewal or (has_gap and name not in lost):
                at = now
            self._seen[name] = (renewal, at)

    def is_alive(self, name: str) -> bool:
        """Return whether a member was alive at the last reading."""
        if self._read_at is None or name not in self._seen:
            return False
        return self._read_at - self._seen[name][1] < self._ttl
