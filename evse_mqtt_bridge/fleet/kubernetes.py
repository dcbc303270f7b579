"""Keeps a fleet in Lease objects of Kubernetes; leases.py describes them.

Every write is conditional: an update names the resource version that it replaces, so of two members that claim a shard
only one succeeds. A beat renews the Lease of the member, and reads all Leases of the fleet.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.kubernetes_api import ConflictError, KubernetesApi, Reading
from evse_mqtt_bridge.fleet.leases import (
    ANNOTATION,
    FLEET_LABEL,
    KIND_LABEL,
    SHARD_LABEL,
    Lease,
    Metadata,
    Renewals,
    Spec,
    lease_name,
)
from evse_mqtt_bridge.fleet.port import EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.fleet.records import decode_record, encode_record, is_member_name

__all__ = ["Kubernetes"]

_RECORD = "record"
_MEMBER = "member"
_DRAIN = "drain"
_PAUSE = "pause-until"
_ATTEMPTS = 5
"""How often a change is tried if others write the same object at the same time."""
_CLOCK_TOLERANCE = 5.0
"""By how many seconds the clock of a member may differ from that of the API server, for those who observe."""


class Kubernetes:
    """The port to the Leases of a Kubernetes cluster, for one member.

    Args:
        api: The API server and the namespace.
        identity: The fleet and the member.
        monotonic: Returns seconds.
        now: Returns the time of this machine in UTC; other members only see that it changes.
    """

    def __init__(
        self,
        api: KubernetesApi,
        identity: Identity,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._fleet = lease_name(identity.fleet)
        self._member = identity.member
        self._ttl = identity.ttl
        self._monotonic = monotonic
        self._now = now
        self._renewals = Renewals(identity.ttl)
        self._own: Lease | None = None

    async def beat(self, own: MemberRecord) -> View:
        """See `Engine`. A beat ends within half of `ttl`."""
        limit = self._ttl / 2
        try:
            async with asyncio.timeout(limit):
                return await self._beat(own)
        except TimeoutError:
            raise EngineUnavailableError(f"the Kubernetes API does not answer within {limit:g} s") from None

    async def claim(self, shard: int) -> Holder | None:
        """See `Engine`."""
        if self._own is None:
            return None
        found = await self._api.read(self._shard_name(shard))
        if found is not None and found.holder == self._member:
            return Holder(self._member, found.claim)
        if found is not None and self._renewals.is_alive(found.holder):
            return None
        try:
            if found is None:
                labels = {SHARD_LABEL: str(shard)}
                found = await self._api.create(self._new(self._shard_name(shard), "shard", self._assigned(1), labels))
            else:
                found = await self._assign(found, self._member)
        except ConflictError:
            return None
        return Holder(self._member, found.claim)

    async def pass_on(self, shard: int, claim: int, successors: Sequence[str]) -> str | None:
        """See `Engine`."""
        found = await self._api.read(self._shard_name(shard))
        if found is None:
            return None
        if (found.holder, found.claim) != (self._member, claim):
            # The claim had ended, or an earlier attempt succeeded whose answer was lost.
            return found.holder if found.holder in successors and found.claim == claim + 1 else None
        successor = next((name for name in successors if self._renewals.is_alive(name)), None)
        try:
            await self._assign(found, successor)
        except ConflictError:
            return None
        return successor

    async def release(self, shard: int, claim: int) -> None:
        """See `Engine`."""
        found = await self._api.read(self._shard_name(shard))
        if found is not None and (found.holder, found.claim) == (self._member, claim):
            try:
                await self._assign(found, None)
            except ConflictError:
                return

    async def holder(self, shard: int) -> Holder | None:
        """See `Engine`."""
        found = await self._api.read(self._shard_name(shard))
        return None if found is None else self._holder(found)

    async def share_cloud_pause(self, seconds: float) -> None:
        """See `Engine`."""
        for _ in range(_ATTEMPTS):
            reading = await self._api.read_all(self._fleet)
            found = reading.leases.get(self._fleet_name)
            if reading.time is None or found is None or _pause(found, reading.time) >= seconds:
                return
            until = reading.time + timedelta(seconds=math.ceil(seconds))
            found.metadata.annotations[f"{ANNOTATION}{_PAUSE}"] = until.isoformat()
            try:
                await self._api.update(found)
            except ConflictError:
                continue
            return

    async def leave(self) -> None:
        """See `Engine`. Shards without a living holder are free, so this deletes only the Lease of the member."""
        found, self._own = self._own, None
        instance = found.holder if found is not None else ""
        for _ in range(_ATTEMPTS):
            if found is None or found.holder != instance:
                return
            try:
                await self._api.delete(found)
            except ConflictError:  # `drain` changed it, or it does not exist
                found = await self._api.read(found.metadata.name)
            else:
                return

    async def aclose(self) -> None:
        """See `Engine`."""
        await self._api.aclose()

    async def observe(self) -> View:
        """See `EngineAdministration`.

        It cannot wait for members to renew, so it compares their clocks with that of the API server: a member whose
        clock is wrong by more than a few seconds may be missing.
        """
        reading = await self._api.read_all(self._fleet)
        members = {
            lease.annotation(_MEMBER): lease
            for lease in _of_kind(reading, "member")
            if _age(lease, reading.time) < self._ttl + _CLOCK_TOLERANCE
        }
        renewals = {name: lease.spec.renew_time or "" for name, lease in members.items()}
        self._renewals.update(renewals, self._monotonic())
        found = reading.leases.get(self._fleet_name)
        return self._view(reading, members, found.metadata.uid if found is not None else "")

    async def drain(self, member: str, *, is_on: bool) -> bool:
        """See `EngineAdministration`. The request names the instance, so it ends with the process."""
        for _ in range(_ATTEMPTS):
            found = await self._api.read(f"{self._fleet}-member-{lease_name(member)}")
            if found is None:
                return False
            found.metadata.annotations[f"{ANNOTATION}{_DRAIN}"] = found.holder if is_on else ""
            try:
                await self._api.update(found)
            except ConflictError:  # the member renewed its Lease meanwhile
                continue
            return True
        raise EngineUnavailableError("the member renewed its Lease again and again at the same time; try again")

    async def _beat(self, own: MemberRecord) -> View:
        if self._own is not None:
            self._own = await self._renew(self._own, own)
        reading = await self._api.read_all(self._fleet)
        members = {lease.annotation(_MEMBER): lease for lease in _of_kind(reading, "member")}
        self._renewals.update({name: lease.spec.renew_time or "" for name, lease in members.items()}, self._monotonic())
        if self._own is None and (registered := await self._register(members.get(self._member), own)):
            self._own = members[self._member] = registered
        await self._remove_lost(members)
        return self._view(reading, members, await self._engine_id(reading))

    def _view(self, reading: Reading, members: Mapping[str, Lease], engine_id: str) -> View:
        records = {
            name: decode_record(name, lease.annotation(_RECORD))
            for name, lease in members.items()
            if is_member_name(name) and (lease is self._own or self._renewals.is_alive(name))
        }
        return View(
            engine_id=engine_id,
            members=records,
            holders=self._holders(reading),
            cloud_pause=max((_pause(lease, reading.time) for lease in _of_kind(reading, "fleet")), default=0.0),
            drains=frozenset(
                name for name, record in records.items() if members[name].annotation(_DRAIN) == record.instance
            ),
        )

    async def _renew(self, lease: Lease, own: MemberRecord) -> Lease | None:
        """Return the renewed Lease of the member; `None`: another process changed or deleted it."""
        self._write_record(lease, own)
        try:
            return await self._api.update(lease)
        except ConflictError:
            return None

    async def _register(self, found: Lease | None, own: MemberRecord) -> Lease | None:
        """Return the new Lease of the member; `None`: another process with the same name is alive, or came first."""
        try:
            if found is None:
                lease = self._new(self._member_name, "member", Spec(lease_duration_seconds=self._ttl))
                self._write_record(lease, own)
                return await self._api.create(lease)
            if found.holder == own.instance or not self._renewals.is_alive(self._member):
                self._write_record(found, own)
                return await self._api.update(found)
        except ConflictError:
            return None
        return None

    def _write_record(self, lease: Lease, own: MemberRecord) -> None:
        lease.spec.holder_identity = own.instance
        lease.spec.renew_time = self._timestamp()
        lease.metadata.annotations[f"{ANNOTATION}{_MEMBER}"] = self._member
        lease.metadata.annotations[f"{ANNOTATION}{_RECORD}"] = encode_record(own)

    async def _remove_lost(self, members: dict[str, Lease]) -> None:
        """Delete the Lease of one lost member, because each new pod has another name."""
        for name, lease in members.items():
            if lease is not self._own and name != self._member and not self._renewals.is_alive(name):
                try:
                    await self._api.delete(lease)
                except ConflictError:
                    continue
                return

    async def _engine_id(self, reading: Reading) -> str:
        found = reading.leases.get(self._fleet_name)
        if found is None:
            try:
                found = await self._api.create(self._new(self._fleet_name, "fleet", Spec()))
            except ConflictError:  # another member created it just now
                found = await self._api.read(self._fleet_name)
        return found.metadata.uid if found is not None else ""

    def _holders(self, reading: Reading) -> dict[int, Holder]:
        holders = {}
        for lease in _of_kind(reading, "shard"):
            number = lease.metadata.labels.get(SHARD_LABEL, "")
            holder = self._holder(lease)
            if holder is not None and number.isascii() and number.isdecimal():
                holders[int(number)] = holder
        return holders

    def _holder(self, lease: Lease) -> Holder | None:
        """Return the holder of a shard; `None`: it is free, or its holder is lost."""
        is_own = lease.holder == self._member and self._own is not None
        return Holder(lease.holder, lease.claim) if is_own or self._renewals.is_alive(lease.holder) else None

    async def _assign(self, lease: Lease, member: str | None) -> Lease:
        """Change the holder of a shard; `None`: it becomes free.

        Raises:
            ConflictError: Another member changed it meanwhile.
        """
        if member is None:
            lease.spec.holder_identity = None
        else:
            lease.spec = self._assigned(lease.claim + 1, member)
        return await self._api.update(lease)

    def _assigned(self, claim: int, member: str = "") -> Spec:
        time_of_change = self._timestamp()
        return Spec(
            holder_identity=member or self._member,
            lease_duration_seconds=self._ttl,
            lease_transitions=claim,
            acquire_time=time_of_change,
            renew_time=time_of_change,
        )

    def _new(self, name: str, kind: str, spec: Spec, labels: dict[str, str] | None = None) -> Lease:
        labels = {FLEET_LABEL: self._fleet, KIND_LABEL: kind, **(labels or {})}
        return Lease(metadata=Metadata(name=name, labels=labels), spec=spec)

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def _fleet_name(self) -> str:
        return f"{self._fleet}-fleet"

    @property
    def _member_name(self) -> str:
        return f"{self._fleet}-member-{lease_name(self._member)}"

    def _shard_name(self, shard: int) -> str:
        return f"{self._fleet}-shard-{shard}"


def _of_kind(reading: Reading, kind: str) -> list[Lease]:
    return [lease for lease in reading.leases.values() if lease.metadata.labels.get(KIND_LABEL) == kind]


def _age(lease: Lease, now: datetime | None) -> float:
    """Return the seconds since a Lease was renewed, on the clock of the API server; 0 if unknown."""
    try:
        renewed = datetime.fromisoformat(lease.spec.renew_time or "")
    except ValueError:
        return 0.0
    return 0.0 if now is None or renewed.tzinfo is None else (now - renewed).total_seconds()


def _pause(lease: Lease, now: datetime | None) -> float:
    """Return the seconds that remain of a pause; 0: there is none."""
    try:
        until = datetime.fromisoformat(lease.annotation(_PAUSE))
    except ValueError:
        return 0.0
    if now is None or until.tzinfo is None:
        return 0.0
    return max(0.0, (until - now).total_seconds())
