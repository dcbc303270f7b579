"""Keeps a fleet in etcd: keys under leases, changed by transactions.

A member has one lease. Its record and the shards that it holds are keys under that lease, so all of them vanish when
the member renews the lease no more. Below `/evse-mqtt-bridge/<fleet>/`:

| key | value | lease |
| --- | --- | --- |
| `members/<name>` | the record of the member, as JSON | of the member |
| `shards/<n>` | the name of the holder; the claim number is the revision in which the key was written | of the holder |
| `drains/<name>` | the instance of a member that was asked to drain | of the member |
| `pause` | empty | ends with the pause |

A beat renews the lease and reads all keys. It writes the record only if it differs, so that a fleet at rest adds no
revision to etcd. Nothing depends on the clock of a member, because a process or a machine may be suspended.
"""

import asyncio
import base64
import math
import ssl
from collections.abc import Sequence

from pydantic import BaseModel, field_validator

from evse_mqtt_bridge.fleet.etcd_gateway import ENDPOINTS_TRIED, EtcdGateway, EtcdLogin, NotFoundInEtcdError
from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.port import CALL_LIMIT, EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.fleet.records import decode_record, encode_record, is_member_name
from evse_mqtt_bridge.support.text import clean

__all__ = ["Etcd", "EtcdLogin"]

_ATTEMPTS = 3
"""How often a beat is tried whose lease ends meanwhile."""


class _KeyValue(BaseModel):
    """A key, as etcd returns it; etcd leaves out what is zero or empty."""

    key: str
    value: bytes = b""
    mod_revision: int
    lease: int = 0

    @field_validator("key", mode="before")
    @classmethod
    def _decode_key(cls, value: object) -> object:
        return base64.b64decode(value).decode(errors="replace") if isinstance(value, str) else value

    @field_validator("value", mode="before")
    @classmethod
    def _decode_value(cls, value: object) -> object:
        return base64.b64decode(value) if isinstance(value, str) else value


class _Range(BaseModel):
    kvs: tuple[_KeyValue, ...] = ()


class _Operation(BaseModel):
    response_range: _Range = _Range()


class _Header(BaseModel):
    cluster_id: int
    revision: int = 0


class _Transaction(BaseModel):
    header: _Header
    succeeded: bool = False
    responses: tuple[_Operation, ...] = ()

    @property
    def found(self) -> list[_KeyValue]:
        """The keys that the transaction read."""
        return [found for response in self.responses for found in response.response_range.kvs]


class _Lease(BaseModel):
    ID: int
    TTL: int = 0


class _KeepAlive(BaseModel):
    result: _Lease


class _Nothing(BaseModel):
    pass


class Etcd:
    """The port to an etcd cluster, for one member.

    Args:
        endpoints: Client URLs, at least one.
        identity: The fleet and the member.
        login: The user of etcd; `None`: none.
        context: TLS settings for https URLs.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        identity: Identity,
        *,
        login: EtcdLogin | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._prefix = f"/evse-mqtt-bridge/{identity.fleet}/"
        self._member = identity.member
        self._ttl = identity.ttl
        self._beat_limit = identity.ttl / 2
        limit = min(CALL_LIMIT, self._beat_limit / min(ENDPOINTS_TRIED, len(endpoints)))
        self._etcd = EtcdGateway(endpoints, limit, login=login, context=context)
        self._lease = 0
        self._former_lease = 0

    async def beat(self, own: MemberRecord) -> View:
        """See `Engine`. A beat ends within half of `ttl`, however many endpoints are tried."""
        try:
            async with asyncio.timeout(self._beat_limit):
                return await self._beat(own)
        except TimeoutError:
            raise EngineUnavailableError(f"etcd does not answer within {self._beat_limit:g} s") from None

    async def claim(self, shard: int) -> Holder | None:
        """See `Engine`."""
        if not self._lease:
            return None
        key = self._shard_key(shard)
        compare = _compare(key, "CREATE", create_revision="0")
        result = await self._write(compare, _put(key, self._member, self._lease), _read(key))
        if result is None or result.succeeded:
            return None if result is None else Holder(self._member, result.header.revision)
        for found in result.found:
            if found.lease == self._lease:
                return self._holder(found)
            if found.lease == self._former_lease:
                return await self._renew_claim(key, found)
        return None

    async def pass_on(self, shard: int, claim: int, successors: Sequence[str]) -> str | None:
        """See `Engine`."""
        key = self._shard_key(shard)
        members = await self._transaction([], [_read(self._key("members/"), is_prefix=True)])
        leases = {found.key.removeprefix(self._key("members/")): found.lease for found in members.found}
        for name in successors:
            if not (lease := leases.get(name, 0)):
                continue
            compare = _compare(key, "MOD", mod_revision=str(claim))
            result = await self._write(compare, _put(key, name, lease), _read(key))
            if result is None:  # the lease of the successor has just ended
                continue
            if result.succeeded:
                return name
            # The claim had ended, or an earlier attempt succeeded whose answer was lost.
            return next((name for found in result.found if found.value == name.encode()), None)
        await self.release(shard, claim)
        return None

    async def release(self, shard: int, claim: int) -> None:
        """See `Engine`."""
        key = self._shard_key(shard)
        compare = _compare(key, "MOD", mod_revision=str(claim))
        await self._transaction([compare], [_delete(key)])

    async def holder(self, shard: int) -> Holder | None:
        """See `Engine`."""
        found = (await self._transaction([], [_read(self._shard_key(shard))])).found
        return self._holder(found[0]) if found else None

    async def share_cloud_pause(self, seconds: float) -> None:
        """See `Engine`."""
        key = self._key("pause")
        remaining = await self._remaining((await self._transaction([], [_read(key)])).found)
        if seconds > remaining:
            lease = await self._grant(math.ceil(seconds))
            await self._write(None, _put(key, "", lease), _read(key))

    async def leave(self) -> None:
        """See `Engine`."""
        lease, self._lease = self._lease, 0
        if lease:
            self._former_lease = lease
            try:
                await self._etcd.call("lease/revoke", {"ID": str(lease)}, _Nothing)
            except NotFoundInEtcdError:
                return

    async def aclose(self) -> None:
        """See `Engine`."""
        await self._etcd.aclose()

    async def observe(self) -> View:
        """See `EngineAdministration`."""
        return await self._view(await self._transaction([], self._everything()))

    async def drain(self, member: str, *, is_on: bool) -> bool:
        """See `EngineAdministration`. The request is under the lease of the member, so it ends with the process."""
        result = await self._transaction([], [_read(self._key(f"members/{member}"))])
        key = self._key(f"drains/{member}")
        for found in result.found:
            if not is_on:
                await self._transaction([], [_delete(key)])
                return True
            instance = decode_record(member, found.value).instance
            return await self._write(None, _put(key, instance, found.lease), _read(key)) is not None
        return False

    def _everything(self) -> list[object]:
        """Return the operations that read all keys of the fleet."""
        pages = [_read(self._key(name), is_prefix=True) for name in ("members/", "shards/", "drains/")]
        return [*pages, _read(self._key("pause"))]

    async def _beat(self, own: MemberRecord) -> View:
        for _ in range(_ATTEMPTS):
            await self._keep_alive()
            try:
                return await self._view(await self._registered(own))
            except NotFoundInEtcdError:
                self._forget_lease()
        raise EngineUnavailableError("etcd forgets the leases that it grants")

    async def _registered(self, own: MemberRecord) -> _Transaction:
        """Return everything, after writing the record of this member if it differs.

        Raises:
            NotFoundInEtcdError: The lease has just ended.
        """
        pages = self._everything()
        key, text = self._key(f"members/{self._member}"), encode_record(own)
        result = await self._transaction([], pages)
        present = next((found for found in result.found if found.key == key), None)
        mine = {self._lease, self._former_lease, 0}
        if present is None or (
            present.lease in mine and (present.lease, present.value) != (self._lease, text.encode())
        ):
            revision = str(present.mod_revision if present else 0)
            compare = _compare(key, "MOD", mod_revision=revision)
            result = await self._transaction([compare], [_put(key, text, self._lease), *pages], pages)
        return result

    async def _view(self, result: _Transaction) -> View:
        members: dict[str, MemberRecord] = {}
        holders: dict[int, Holder] = {}
        drains: dict[str, str] = {}
        pauses: list[_KeyValue] = []
        for found in result.found:
            kind, _, name = found.key.removeprefix(self._prefix).partition("/")
            if kind == "members" and is_member_name(name):
                members[name] = decode_record(name, found.value)
            elif kind == "shards" and name.isascii() and name.isdecimal():
                holders[int(name)] = self._holder(found)
            elif kind == "drains":
                drains[name] = found.value.decode(errors="replace")
            elif kind == "pause":
                pauses.append(found)
        return View(
            engine_id=f"{result.header.cluster_id:x}",
            members=members,
            holders=holders,
            cloud_pause=await self._remaining(pauses),
            drains=frozenset(name for name, record in members.items() if drains.get(name) == record.instance),
        )

    async def _keep_alive(self) -> None:
        """Renew the lease, or get a new one if there is none or it has ended."""
        if self._lease:
            reply = await self._etcd.call("lease/keepalive", {"ID": str(self._lease)}, _KeepAlive)
            if reply.result.TTL > 0:
                return
            self._forget_lease()
        self._lease = await self._grant(self._ttl)

    def _forget_lease(self) -> None:
        self._former_lease, self._lease = self._lease, 0

    async def _grant(self, seconds: int) -> int:
        return (await self._etcd.call("lease/grant", {"TTL": str(seconds)}, _Lease)).ID

    async def _remaining(self, pauses: Sequence[_KeyValue]) -> float:
        """Return the seconds that remain of a pause, 0 if there is none."""
        for found in pauses:
            lease = await self._etcd.call("lease/timetolive", {"ID": str(found.lease)}, _Lease)
            return float(max(0, lease.TTL))
        return 0.0

    async def _renew_claim(self, key: str, found: _KeyValue) -> Holder | None:
        """Move a shard from a former lease of this member, which is about to vanish, to the present one."""
        compare = _compare(key, "MOD", mod_revision=str(found.mod_revision))
        result = await self._write(compare, _put(key, self._member, self._lease), _read(key))
        return Holder(self._member, result.header.revision) if result is not None and result.succeeded else None

    async def _write(self, compare: object | None, put: object, otherwise: object) -> _Transaction | None:
        """Run a transaction that writes a key; `None`: its lease has ended."""
        try:
            return await self._transaction([compare] if compare else [], [put], [otherwise])
        except NotFoundInEtcdError:
            return None

    async def _transaction(
        self, compare: Sequence[object], success: Sequence[object], failure: Sequence[object] = ()
    ) -> _Transaction:
        body = {"compare": list(compare), "success": list(success), "failure": list(failure)}
        return await self._etcd.call("kv/txn", body, _Transaction)

    def _holder(self, found: _KeyValue) -> Holder:
        return Holder(clean(found.value.decode(errors="replace")), found.mod_revision)

    def _shard_key(self, shard: int) -> str:
        return self._key(f"shards/{shard}")

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read(key: str, *, is_prefix: bool = False) -> object:
    """Return the operation that reads a key, or all keys with a prefix that ends in `/`."""
    until = {"range_end": _encoded(f"{key[:-1]}0")} if is_prefix else {}  # "0" is the character after "/"
    return {"request_range": {"key": _encoded(key), **until}}


def _put(key: str, value: str, lease: int) -> object:
    return {"request_put": {"key": _encoded(key), "value": _encoded(value), "lease": str(lease)}}


def _delete(key: str) -> object:
    return {"request_delete_range": {"key": _encoded(key)}}


def _compare(key: str, field: str, **operand: str) -> object:
    return {"key": _encoded(key), "target": field, "result": "EQUAL", **operand}
