"""The etcd engine against real etcd processes: claims, leases, outages, users and TLS."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.secrets import read_secret
from evse_mqtt_bridge.fleet.etcd import Etcd, EtcdLogin
from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.support.tls import client_context
from tests.fleet.engine_checks import check_drain, check_observer, record
from tests.harness import Authority
from tests.harness.etcd import EtcdServer
from tests.harness.net import free_port

Connect = Callable[..., Etcd]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServer]:
    """A running etcd without TLS and users."""
    with EtcdServer(tmp_path / "etcd") as server:
        yield server


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that returns the engine of a member of the fleet `evse`, closed after the test."""
    async with AsyncExitStack() as stack:

        def connected(*endpoints: str, member: str = "m1", fleet: str = "evse", ttl: int = 10, **options: Any) -> Etcd:  # noqa: ANN401
            engine = Etcd(endpoints, Identity(fleet, member, ttl), **options)
            stack.push_async_callback(engine.aclose)
            return engine

        yield connected


def login(password: str = "pass") -> EtcdLogin:
    return EtcdLogin("bridge", lambda: password)


async def until(engine: Etcd, own: MemberRecord, condition: Callable[[View], bool]) -> View:
    """Beat until the view meets a condition."""
    async with asyncio.timeout(20):
        while not condition(view := await engine.beat(own)):  # noqa: ASYNC110  # only the next beat shows it
            await asyncio.sleep(0.1)
        return view


async def available(engine: Etcd, own: MemberRecord) -> View:
    """Beat until the engine answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await engine.beat(own)
            except EngineUnavailableError:
                await asyncio.sleep(0.1)


# Members and shards


async def test_beat_returns_all_members_and_holders(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    own, other = record(), record("m2", is_fit=False, is_draining=True, page="https://m2.example.com/")
    assert (await one.beat(own)).members == {"m1": own}
    view = await two.beat(other)
    assert view.members == {"m1": own, "m2": other}
    assert view.holders == {}
    claimed = await one.claim(3)
    assert claimed is not None
    assert claimed.member == "m1"
    view = await two.beat(other)
    assert view.holders == {3: claimed}
    assert view.engine_id == (await one.beat(own)).engine_id != ""


async def test_changed_record_is_written_at_the_next_beat(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.beat(record())
    view = await engine.beat(record(is_steady=True))
    assert view.members["m1"].is_steady


async def test_fleet_at_rest_adds_no_revision(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.beat(record())
    before = etcd.control("get", "--write-out=fields", "x")
    await engine.beat(record())
    assert _revision(etcd.control("get", "--write-out=fields", "x")) == _revision(before)


def _revision(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith('"Revision"'))


async def test_shard_is_claimed_by_one_of_two(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    await asyncio.gather(one.beat(record()), two.beat(record("m2")))
    first, second = await asyncio.gather(one.claim(0), two.claim(0))
    [holder] = [claim for claim in (first, second) if claim is not None]
    assert await one.holder(0) == await two.holder(0) == holder
    owner = one if holder.member == "m1" else two
    assert await owner.claim(0) == holder  # a repeated claim is the same one


async def test_claim_without_a_beat_is_refused(etcd: EtcdServer, connect: Connect) -> None:
    assert await connect(etcd.url).claim(0) is None


async def test_released_shard_is_free_and_its_next_claim_higher(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    await one.beat(record())
    await two.beat(record("m2"))
    first = await one.claim(0)
    assert first is not None
    await two.release(0, first.claim + 1)  # not this claim
    assert await one.holder(0) == first
    await one.release(0, first.claim)
    assert await one.holder(0) is None
    second = await two.claim(0)
    assert second is not None
    assert second.claim > first.claim


async def test_passed_on_shard_belongs_to_the_successor(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    await one.beat(record())
    await two.beat(record("m2"))
    claimed = await one.claim(0)
    assert claimed is not None
    assert await one.pass_on(0, claimed.claim, ["m9", "m2"]) == "m2"  # there is no m9
    holder = await two.claim(0)
    assert holder is not None
    assert holder.claim > claimed.claim
    assert await one.pass_on(0, claimed.claim, ["m1"]) is None  # the claim has ended
    await one.leave()
    assert await two.holder(0) == holder  # the shard is under the lease of m2


async def test_shard_without_a_living_successor_becomes_free(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.beat(record())
    claimed = await engine.claim(0)
    assert claimed is not None
    assert await engine.pass_on(0, claimed.claim, ["m2"]) is None
    assert await engine.holder(0) is None


async def test_leaving_frees_name_and_shards_at_once(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    await one.beat(record())
    await one.claim(0)
    await one.leave()
    await one.leave()  # nothing remains to be removed
    view = await two.beat(record("m2"))
    assert view.members.keys() == {"m2"}
    assert view.holders == {}


async def test_member_without_beats_is_lost_and_can_return(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url, ttl=2), connect(etcd.url, member="m2")
    await one.beat(record())
    await one.claim(0)
    own = record("m2")
    assert (await two.beat(own)).holders[0].member == "m1"
    await until(two, own, lambda view: not view.holders and "m1" not in view.members)
    view = await one.beat(record())
    assert view.members.keys() == {"m1", "m2"}
    assert await one.claim(0) is not None


async def test_second_process_with_the_same_name_sees_the_first(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url)
    await one.beat(record(instance="first"))
    await one.claim(0)
    assert (await two.beat(record(instance="second"))).members["m1"].instance == "first"
    assert await two.claim(0) is None
    await one.leave()
    assert (await two.beat(record(instance="second"))).members["m1"].instance == "second"


async def test_fleets_with_nested_names_are_separate(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2", fleet="evse/shards")
    await one.beat(record())
    await two.beat(record("m2"))
    assert await one.claim(0) is not None
    assert await two.claim(0) is not None
    assert (await one.beat(record())).members.keys() == {"m1"}
    view = await two.beat(record("m2"))
    assert view.members.keys() == {"m2"}
    assert view.holders.keys() == {0}


async def test_observer_sees_the_fleet_and_is_no_member(etcd: EtcdServer, connect: Connect) -> None:
    engine, observer = connect(etcd.url), connect(etcd.url, member="m2")
    await check_observer(engine, observer)


async def test_drain_lasts_until_withdrawn_or_restarted(etcd: EtcdServer, connect: Connect) -> None:
    engine, observer = connect(etcd.url), connect(etcd.url, member="m2")
    await check_drain(engine, observer)


async def test_pause_is_shared_and_a_longer_one_stays(etcd: EtcdServer, connect: Connect) -> None:
    one, two = connect(etcd.url), connect(etcd.url, member="m2")
    assert (await one.beat(record())).cloud_pause == 0
    await two.share_cloud_pause(120)
    await one.share_cloud_pause(30)
    assert 100 < (await one.beat(record())).cloud_pause <= 120
    await one.share_cloud_pause(300)
    assert 200 < (await one.beat(record())).cloud_pause <= 300


async def test_pause_ends_by_itself(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.share_cloud_pause(0.5)
    await until(engine, record(), lambda view: view.cloud_pause == 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("members/m2", "no JSON"),
        ("members/m2", '{"shards": "many"}'),
        ("members/m 2", "x"),
        ("shards/x", "m2"),
        ("shards/1", "a\nb"),
        ("other", "x"),
    ],
)
async def test_foreign_keys_do_no_harm(etcd: EtcdServer, connect: Connect, key: str, value: str) -> None:
    etcd.control("put", f"/evse-mqtt-bridge/evse/{key}", value)
    view = await connect(etcd.url).beat(record())
    assert not view.members.pop("m2", record(is_fit=False)).is_fit  # type: ignore[attr-defined]  # a dict
    assert view.members == {"m1": record()}
    assert view.holders == ({1: Holder("a b", view.holders[1].claim)} if key == "shards/1" else {})


# Outages


async def test_frozen_etcd_is_unavailable_until_it_resumes(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url, ttl=6)
    await engine.beat(record())
    claimed = await engine.claim(0)
    etcd.freeze()
    try:
        async with asyncio.timeout(3.5):  # the limit of a beat is half of ttl
            with pytest.raises(EngineUnavailableError, match=r"etcd does not answer.* within 2 s"):
                await engine.beat(record())
    finally:
        etcd.thaw()
    assert (await available(engine, record())).holders == {0: claimed}


async def test_killed_etcd_with_its_data_loses_nothing(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.beat(record())
    claimed = await engine.claim(0)
    etcd.kill()
    for call in (engine.beat(record()), engine.holder(0), engine.claim(1), engine.leave()):
        with pytest.raises(EngineUnavailableError, match="connection refused"):
            await call
    etcd.start()
    view = await available(engine, record())
    assert view.holders == {0: claimed}
    assert await engine.claim(0) is not None  # the lease before `leave` still is this member's


async def test_emptied_etcd_registers_the_member_again(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url)
    await engine.beat(record())
    await engine.claim(0)
    etcd.empty()
    view = await available(engine, record())
    assert (view.members, view.holders) == ({"m1": record()}, {})
    assert await engine.claim(0) is not None


async def test_cluster_survives_its_leader_and_waits_for_a_quorum(connect: Connect, tmp_path: Path) -> None:
    nodes = EtcdServer.cluster(tmp_path, 3)
    with ExitStack() as stack:
        for node in nodes:
            node.launch()
            stack.callback(node.kill)
        engine = connect(*(node.url for node in nodes), ttl=20)
        await available(engine, record())
        claimed = await engine.claim(0)
        leader = next(node for node in nodes if node.is_leader)
        leader.kill()
        view = await available(engine, record())
        assert view.holders == {0: claimed}
        other = next(node for node in nodes if node is not leader)
        other.kill()
        with pytest.raises(EngineUnavailableError, match="etcd does not answer"):
            await engine.beat(record())
        other.start()
        assert (await available(engine, record())).holders == {0: claimed}
        assert await engine.claim(0) == claimed


async def test_next_endpoint_is_used_if_one_fails(etcd: EtcdServer, connect: Connect, tmp_path: Path) -> None:
    refused = f"http://127.0.0.1:{free_port()}"
    with EtcdServer(tmp_path / "frozen") as frozen:
        engine = connect(refused, frozen.url, etcd.url, ttl=6)
        frozen.freeze()
        view = await engine.beat(record())
        assert view.members == {"m1": record()}
        async with asyncio.timeout(0.9):  # the endpoint that answered is the first one now
            await engine.beat(record())


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[str, str], Awaitable[str]]]:
    """A function that starts a server with one answer to everything, and returns its URL."""
    async with AsyncExitStack() as stack:

        async def started(status: str, body: str) -> str:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                writer.write(f"{head}{body}".encode())
                await writer.drain()
                writer.close()

            port = free_port()
            await stack.enter_async_context(await asyncio.start_server(answer, "127.0.0.1", port))
            return f"http://127.0.0.1:{port}"

        yield started


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        ("404 Not Found", "nope", "HTTP 404, which is not an answer of etcd's API"),
        ("302 Found\r\nlocation: /", "", "HTTP 302, which is not an answer of etcd's API"),
        ("500 Internal Server Error", '{"code": 2, "message": "no leader"}', "no leader"),
        ("404 Not Found", '{"code": 5, "message": "requested lease not found"}', "requested lease not found"),
        ("200 OK", "[" * 100_000, "not one of etcd's API"),
        ("200 OK", '{"ID": "1", "header": {}}', "not one of etcd's API"),
    ],
)
async def test_other_answers_are_no_answers_of_etcd(
    connect: Connect, serve: Callable[[str, str], Awaitable[str]], status: str, body: str, text: str
) -> None:
    engine = connect(await serve(status, body))
    with pytest.raises(EngineUnavailableError, match=text):
        await engine.beat(record())
    with pytest.raises(EngineUnavailableError, match=text):
        await engine.observe()


@pytest.mark.parametrize("status", ["403 Forbidden", "200 OK"])
@pytest.mark.parametrize("code", ["code", "grpc_code"])
async def test_error_of_a_streaming_call_is_explained(
    connect: Connect, serve: Callable[[str, str], Awaitable[str]], status: str, code: str
) -> None:
    """The gateway of etcd 3.5 puts such errors into the key `error`."""
    engine = connect(await serve(status, f'{{"error": {{"{code}": 7, "message": "permission denied"}}}}'))
    with pytest.raises(EngineRefusedError, match="denied no user a right"):
        await engine.beat(record())


async def test_gateway_without_the_paths_names_the_version(
    connect: Connect, serve: Callable[[str, str], Awaitable[str]]
) -> None:
    engine = connect(await serve("404 Not Found", '{"code": 5, "message": "Not Found"}'))
    with pytest.raises(EngineRefusedError, match=r"Not Found.*supports etcd 3\.4 and later"):
        await engine.beat(record())


async def test_token_that_is_no_header_is_rejected(
    connect: Connect, serve: Callable[[str, str], Awaitable[str]]
) -> None:
    engine = connect(await serve("200 OK", r'{"token": "\u00e9"}'), login=login())
    with pytest.raises(EngineUnavailableError, match="not one of etcd's API"):
        await engine.beat(record())


async def test_password_that_cannot_be_read_blocks_no_beat(connect: Connect) -> None:
    unblock = threading.Event()

    def blocked() -> str:
        unblock.wait(20)
        return ""

    engine = connect(f"http://127.0.0.1:{free_port()}", ttl=6, login=EtcdLogin("bridge", blocked))
    async with asyncio.timeout(5):
        with pytest.raises(EngineUnavailableError, match=r"fleet\.password_file could not be read within 2 s"):
            await engine.holder(0)
    unblock.set()


# Users


def _enable_users(etcd: EtcdServer, *options: str) -> None:
    for command in (
        ("user", "add", "root:secret"),
        ("user", "grant-role", "root", "root"),
        ("user", "add", "bridge:pass"),
        ("role", "add", "bridge"),
        ("role", "grant-permission", "--prefix=true", "bridge", "readwrite", "/evse-mqtt-bridge/evse/"),
        ("user", "grant-role", "bridge", "bridge"),
        ("auth", "enable"),
    ):
        etcd.control(*options, *command)


async def test_user_with_rights_on_the_prefix_suffices(etcd: EtcdServer, connect: Connect) -> None:
    engine = connect(etcd.url, login=login())
    await engine.beat(record())  # before etcd has users
    _enable_users(etcd)
    await engine.beat(record())
    claimed = await engine.claim(0)
    assert claimed is not None
    await engine.share_cloud_pause(30)
    assert (await engine.beat(record())).cloud_pause > 0
    await engine.release(0, claimed.claim)
    await engine.leave()
    other = connect(etcd.url, login=login(), fleet="other")
    with pytest.raises(EngineRefusedError, match="denied user bridge a right; grant its role readwrite"):
        await other.beat(record())
    for wrong, text in (
        (login("wrong"), "rejected user bridge; check fleet.username"),
        (None, "requires a user, and there is no user; set fleet.username"),
    ):
        with pytest.raises(EngineRefusedError, match=text):
            await connect(etcd.url, login=wrong).beat(record())


async def test_expired_token_is_renewed(tmp_path: Path, connect: Connect) -> None:
    with EtcdServer(tmp_path / "etcd", arguments=["--auth-token-ttl=1"]) as etcd:
        _enable_users(etcd)
        engine = connect(etcd.url, login=login())
        await engine.beat(record())
        etcd.kill()
        etcd.start()  # tokens are in memory only
        assert (await available(engine, record())).members == {"m1": record()}


async def test_changed_password_is_read_again(etcd: EtcdServer, connect: Connect, tmp_path: Path) -> None:
    _enable_users(etcd)
    file = tmp_path / "password"
    engine = connect(etcd.url, login=EtcdLogin("bridge", partial(read_secret, file)))
    with pytest.raises(EngineRefusedError, match=r"fleet\.password_file: .*/password cannot be read"):
        await engine.beat(record())
    file.write_text("pass\n")
    assert (await engine.beat(record())).members == {"m1": record()}
    etcd.control("--user=root:secret", "user", "passwd", "--interactive=false", "bridge", stdin="other\n")
    file.write_text("other\n")
    etcd.kill()
    etcd.start()
    assert (await available(engine, record())).members == {"m1": record()}


# TLS


async def test_tls_with_a_client_certificate(tmp_path: Path, connect: Connect, authority: Authority) -> None:
    required = ["--client-cert-auth", f"--trusted-ca-file={authority.ca_file}"]
    with EtcdServer(tmp_path / "etcd", certificate=authority.issue(), arguments=required) as etcd:
        client = authority.issue("client")
        context = client_context("fleet.tls", str(authority.ca_file), str(client.cert_file), str(client.key_file))
        assert (await available(connect(etcd.url, context=context), record())).members == {"m1": record()}
        without = client_context("fleet.tls", str(authority.ca_file))
        with pytest.raises(EngineUnavailableError, match=r"TLS|closed the connection"):
            await connect(etcd.url, context=without).beat(record())
        _enable_users(etcd, f"--cacert={authority.ca_file}", f"--cert={client.cert_file}", f"--key={client.key_file}")
        with pytest.raises(EngineRefusedError, match="accepts no client certificate with a Common Name"):
            await connect(etcd.url, context=context, login=login()).beat(record())


async def test_unknown_ca_is_explained(tmp_path: Path, connect: Connect, authority: Authority) -> None:
    with (
        EtcdServer(tmp_path / "etcd", certificate=authority.issue()) as etcd,
        pytest.raises(EngineUnavailableError, match=r"certificate was rejected.*fleet\.tls\.ca_file"),
    ):
        await connect(etcd.url, context=client_context("fleet.tls")).beat(record())
