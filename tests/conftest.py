"""Fixtures for all tests, made of the tools in tests/harness/."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import Authority, BridgeProcess, Clock, CloudServer, Mosquitto, Observer
from tests.harness.postgres import PostgreSql, find_postgres
from tests.harness.virtual_time import VirtualTimeLoop

# no test fails because the machine is busy
settings.register_profile("no deadlines", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadlines")

_FOLDERS_OF_WAITING_TESTS = ("faults", "service")


def pytest_configure() -> None:
    gc.set_threshold(20_000, 10, 10)  # thousands of tests stay in memory, which each collection searches


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Offer the loop that a test selects with `pytest.mark.asyncio(loop_factories=["virtual_time"])`."""
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        return {"virtual_time": VirtualTimeLoop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto without TLS, passwords or persistence."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        yield mosquitto


@pytest.fixture
def own_postgres() -> Iterator[PostgreSql]:
    """A running PostgreSQL that the test may stop."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgreSql().create()
    yield server
    server.close()


@pytest.fixture
def observer(broker: Mosquitto) -> Iterator[Observer]:
    """An observer of every topic on `broker`."""
    with Observer(broker.port) as connected:
        yield connected


@pytest.fixture
def cloud() -> Iterator[CloudServer]:
    """A running stand-in for the vendor's API, over plain HTTP."""
    with CloudServer() as server:
        yield server


@pytest.fixture
def bridge_process() -> Iterator[Callable[..., BridgeProcess]]:
    """A function that starts `evse-mqtt-bridge run --config FILE ...`; the processes are stopped after the test."""
    with ExitStack() as stack:

        def start(config: Path, *arguments: str, **options: dict[str, str]) -> BridgeProcess:
            return stack.enter_context(BridgeProcess.run(config, *arguments, **options))

        yield start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA for TLS tests."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test advances it."""
    return Clock()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Distribute the tests that mostly wait among those that compute, so that neither kind is left for the end."""
    waiting = [item for item in items if item.path.parent.name in _FOLDERS_OF_WAITING_TESTS]
    others = [item for item in items if item.path.parent.name not in _FOLDERS_OF_WAITING_TESTS]
    gap = max(1, len(others) * 2 // 3 // max(1, len(waiting)))
    for number, item in enumerate(waiting):
        others.insert(number * (gap + 1), item)
    items[:] = others
