"""The Kubernetes engine against a server that behaves like the API server for Leases."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.kubernetes import Kubernetes
from evse_mqtt_bridge.fleet.kubernetes_api import KubernetesApi
from evse_mqtt_bridge.fleet.leases import Renewals, lease_name
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError, Holder
from tests.fleet.engine_checks import check_drain, check_observer, record
from tests.harness import Clock
from tests.harness.kubernetes import KubernetesServer
from tests.harness.net import free_port

Connect = Callable[..., Kubernetes]


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as running:
        yield running


@pytest.fixture
async def connect(server: KubernetesServer, clock: Clock, tmp_path: Path) -> AsyncIterator[Connect]:
    """A function that returns the engine of a member of the fleet `evse` with a ttl of 10 s, closed after the test."""
    token_file = tmp_path / "token"
    token_file.write_text("token\n")
    async with AsyncExitStack() as stack:

        def connected(
            member: str = "m1", *, fleet: str = "evse", url: str = server.url, namespace: str = "evse"
        ) -> Kubernetes:
            api = KubernetesApi(url, namespace, token_file, limit=2)
            engine = Kubernetes(api, Identity(fleet, member, 10), monotonic=clock)
            stack.push_async_callback(engine.aclose)
            return engine

        yield connected


# Members and shards


async def test_beat_returns_all_members_and_holders(connect: Connect) -> None:
    one, two = connect(), connect("m2")
    own, other = record(), record("m2", is_fit=False, is_draining=True, page="https://m2.example.com/")
    assert (await one.beat(own)).members == {"m1": own}
    view = await two.beat(other)
    assert view.members == {"m1": own, "m2": other}
    assert view.holders == {}
    assert await one.claim(3) == Holder("m1", 1)
    view = await two.beat(other)
    assert view.holders == {3: Holder("m1", 1)}
    assert view.engine_id == (await one.beat(own)).engine_id != ""


async def test_beat_at_rest_needs_two_requests(server: KubernetesServer, connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    server.requests.clear()
    await engine.beat(record())
    assert [method for method, _ in server.requests] == ["PUT", "GET"]


async def test_changed_record_is_written_at_the_next_beat(connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    assert (await engine.beat(record(is_steady=True))).members["m1"].is_steady


async def test_shard_is_claimed_by_one_of_two(connect: Connect) -> None:
    one, two = connect(), connect("m2")
    await one.beat(record())
    await two.beat(record("m2"))
    claims = await asyncio.gather(one.claim(0), two.claim(0))
    [holder] = [claim for claim in claims if claim is not None]
    assert await one.holder(0) == holder
    owner = one if holder.member == "m1" else two
    assert await owner.claim(0) == holder  # a repeated claim is the same one


async def test_claim_without_a_beat_is_refused(connect: Connect) -> None:
    assert await connect().claim(0) is None


async def test_released_shard_is_free_and_its_next_claim_higher(connect: Connect) -> None:
    one, two = connect(), connect("m2")
    await one.beat(record())
    await two.beat(record("m2"))
    assert await one.claim(0) == Holder("m1", 1)
    await one.release(0, 7)  # not this claim
    assert await two.claim(0) is None
    await one.release(0, 1)
    assert await one.holder(0) is None
    assert await two.claim(0) == Holder("m2", 2)


async def test_passed_on_shard_belongs_to_the_successor(connect: Connect) -> None:
    one, two = connect(), connect("m2")
    await one.beat(record())
    await two.beat(record("m2"))
    await one.beat(record())  # sees m2
    await one.claim(0)
    assert await one.pass_on(0, 1, ["m9", "m2"]) == "m2"  # there is no m9
    assert await one.pass_on(0, 1, ["m9", "m2"]) == "m2"  # the answer was lost
    assert await two.claim(0) == Holder("m2", 2)
    assert await one.pass_on(0, 1, ["m9"]) is None


async def test_shard_without_a_living_successor_becomes_free(connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    await engine.claim(0)
    assert await engine.pass_on(0, 1, ["m2"]) is None
    assert await engine.holder(0) is None


async def test_leaving_frees_name_and_shards_at_once(connect: Connect) -> None:
    one, two = connect(), connect("m2")
    await one.beat(record())
    await one.claim(0)
    await one.leave()
    await one.leave()  # nothing remains to be removed
    view = await two.beat(record("m2"))
    assert view.members.keys() == {"m2"}
    assert view.holders == {}
    assert await two.claim(0) == Holder("m2", 2)


async def test_member_without_beats_is_lost_and_can_return(connect: Connect, clock: Clock) -> None:
    one, two = connect(), connect("m2")
    await one.beat(record())
    await one.claim(0)
    for _ in range(4):
        assert (await two.beat(record("m2"))).holders == {0: Holder("m1", 1)}
        clock.advance(2.5)
    view = await two.beat(record("m2"))
    assert view.members.keys() == {"m2"}
    assert view.holders == {}
    assert await two.claim(0) == Holder("m2", 2)
    view = await one.beat(record())
    assert view.holders == {0: Holder("m2", 2)}
    assert (await two.beat(record("m2"))).members.keys() == {"m1", "m2"}


async def test_second_process_with_the_same_name_sees_the_first(connect: Connect, clock: Clock) -> None:
    one, two = connect(), connect()
    await one.beat(record(instance="first"))
    await one.claim(0)
    assert (await two.beat(record(instance="second"))).members["m1"].instance == "first"
    assert await two.claim(0) is None
    for _ in range(3):  # the first process renews no more
        clock.advance(2.5)
        await two.beat(record(instance="second"))
    clock.advance(2.5)
    view = await two.beat(record(instance="second"))
    assert view.members["m1"].instance == "second"
    assert await two.claim(0) == Holder("m1", 1)
    assert (await one.beat(record(instance="first"))).members["m1"].instance == "second"


async def test_lease_of_a_lost_pod_is_deleted(server: KubernetesServer, connect: Connect, clock: Clock) -> None:
    await connect("pod-1").beat(record("pod-1"))
    engine = connect()
    for _ in range(5):
        await engine.beat(record())
        clock.advance(2.5)
    assert server.leases.keys() == {"evse-fleet", "evse-member-m1"}


async def test_fleets_in_one_namespace_are_separate(connect: Connect) -> None:
    one, two = connect(), connect("m2", fleet="evse/shard")
    await one.beat(record())
    await two.beat(record("m2"))
    assert await one.claim(0) is not None
    assert await two.claim(0) is not None
    assert (await one.beat(record())).members.keys() == {"m1"}
    assert (await two.beat(record("m2"))).members.keys() == {"m2"}


async def test_names_that_kubernetes_forbids_are_translated(server: KubernetesServer, connect: Connect) -> None:
    engine = connect("Pod_1.example.com", fleet="Site/EVSE")
    view = await engine.beat(record("Pod_1.example.com"))
    assert view.members.keys() == {"Pod_1.example.com"}
    assert await engine.claim(0) is not None
    assert len(server.leases) == 3


async def test_foreign_labels_and_annotations_of_people_stay(server: KubernetesServer, connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    metadata = server.leases["evse-member-m1"]["metadata"]
    metadata["annotations"]["example.com/note"] = "mine"
    metadata["resourceVersion"] = "999"
    await engine.beat(record())
    await engine.beat(record(is_steady=True))
    assert server.leases["evse-member-m1"]["metadata"]["annotations"]["example.com/note"] == "mine"


async def test_malformed_leases_do_no_harm(server: KubernetesServer, connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    await engine.claim(0)
    for number, changes in enumerate(({"shard": "x"}, {"kind": "other"}, {"kind": "member"})):
        labels = {"fleet": "evse", "kind": "shard", **changes}
        metadata = {"name": f"odd-{number}", "uid": "u", "resourceVersion": "1"}
        metadata |= {"labels": {f"evse-mqtt-bridge/{key}": value for key, value in labels.items()}}  # type: ignore[dict-item]
        server.leases[f"odd-{number}"] = {"metadata": metadata, "spec": {}}
    view = await engine.beat(record())
    assert view.members == {"m1": record()}
    assert view.holders == {0: Holder("m1", 1)}


async def test_observer_sees_the_fleet_and_is_no_member(connect: Connect) -> None:
    engine, observer = connect(), connect("m2")
    await check_observer(engine, observer)


async def test_drain_lasts_until_withdrawn_or_restarted(connect: Connect) -> None:
    engine, observer = connect(), connect("m2")
    await check_drain(engine, observer)


# The pause


async def test_pause_is_in_the_time_of_the_server(server: KubernetesServer, connect: Connect) -> None:
    server.clock_offset = timedelta(hours=-5)
    one, two = connect(), connect("m2")
    assert (await one.beat(record())).cloud_pause == 0
    await two.beat(record("m2"))
    await two.share_cloud_pause(120)
    await one.share_cloud_pause(30)
    assert 110 < (await one.beat(record())).cloud_pause <= 120
    server.clock_offset += timedelta(seconds=121)
    assert (await one.beat(record())).cloud_pause == 0


# Outages and errors


async def test_lease_names_of_different_texts_differ() -> None:
    texts = ["a", "A", "a/b", "a-b", "a.b", "", "-", "x" * 200, "x" * 199]
    assert len({lease_name(text) for text in texts}) == len(texts)


async def test_outage_of_the_server_loses_nobody(server: KubernetesServer, connect: Connect, clock: Clock) -> None:
    one, two = connect(), connect("m2")
    await two.beat(record("m2"))
    await two.claim(0)
    await one.beat(record())
    server.failure = 503
    for engine, own in ((one, record()), (two, record("m2"))):
        with pytest.raises(EngineUnavailableError, match=r"HTTP 503 etcdserver: request timed out"):
            await engine.beat(own)
    clock.advance(60)
    server.failure = 0
    assert (await one.beat(record())).holders == {0: Holder("m2", 1)}  # m2 could not renew, either


async def test_deleted_leases_are_written_again(server: KubernetesServer, connect: Connect) -> None:
    engine = connect()
    await engine.beat(record())
    await engine.claim(0)
    server.leases.clear()
    view = await engine.beat(record())
    assert view.members == {"m1": record()}
    assert view.holders == {}
    assert await engine.claim(0) == Holder("m1", 1)


async def test_renewed_token_is_read_again(server: KubernetesServer, connect: Connect, tmp_path: Path) -> None:
    engine = connect()
    await engine.beat(record())
    server.tokens = {"renewed"}
    with pytest.raises(
        EngineRefusedError, match=r"rejected the token in .*/token; does the service account still exist"
    ):
        await engine.beat(record())
    (tmp_path / "token").write_text("renewed\n")
    assert (await engine.beat(record())).members == {"m1": record()}
    (tmp_path / "token").unlink()
    server.tokens = set()
    with pytest.raises(EngineRefusedError, match=r"cannot be read: No such file.*automountServiceAccountToken"):
        await engine.beat(record())


async def test_missing_right_is_explained(server: KubernetesServer, connect: Connect) -> None:
    server.allowed = {"GET"}
    with pytest.raises(EngineRefusedError, match=r"its Role needs get, list, create, update and delete for leases"):
        await connect().beat(record())


async def test_missing_namespace_is_explained(connect: Connect) -> None:
    with pytest.raises(EngineRefusedError, match=r"the namespace other does not exist; create it"):
        await connect(namespace="other").beat(record())


async def test_wrong_url_is_explained(server: KubernetesServer, connect: Connect) -> None:
    with pytest.raises(EngineUnavailableError, match=r"does not answer: .*: connection refused"):
        await connect(url=f"http://127.0.0.1:{free_port()}").beat(record())
    with pytest.raises(EngineUnavailableError, match=r"does not answer like the Kubernetes API"):
        await connect(url=f"{server.url}/prefix").beat(record())


# Who is alive


def test_member_is_lost_after_ttl_without_a_change() -> None:
    renewals = Renewals(10)
    renewals.update({"m1": "a"}, 100)
    for now in (104, 108):
        renewals.update({"m1": "a"}, now)
        assert renewals.is_alive("m1")
    renewals.update({"m1": "a"}, 110)
    assert not renewals.is_alive("m1")
    renewals.update({"m1": "b"}, 111)
    assert renewals.is_alive("m1")
    renewals.update({}, 112)
    assert not renewals.is_alive("m1")


def test_gap_revives_no_lost_member() -> None:
    renewals = Renewals(10)
    for now in (0, 4, 8, 12):
        renewals.update({"lost": "a", "alive": str(now)}, now)
    renewals.update({"lost": "a", "alive": "12"}, 60)  # the API server was away
    assert (renewals.is_alive("lost"), renewals.is_alive("alive")) == (False, True)


@given(st.lists(st.tuples(st.floats(0.1, 4.9), st.booleans()), max_size=40))
def test_alive_member_renewed_within_ttl_of_steady_readings(steps: list[tuple[float, bool]]) -> None:
    renewals, now, renewed_at, number = Renewals(10), 0.0, 0.0, 0
    renewals.update({"m1": "0"}, now)
    for seconds, renews in steps:
        now += seconds
        if renews:
            number, renewed_at = number + 1, now
        renewals.update({"m1": str(number)}, now)
        assert renewals.is_alive("m1") == (now - renewed_at < 10)
