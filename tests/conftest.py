"""Fixtures for every test; what they give is in tests/harness/."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.harness import Authority, BridgeProcess, Clock, CloudServer, Mosquitto, Observer
from tests.harness.virtual_time import VirtualTimeLoop

# a machine that is busy for a moment fails no test
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_WAITING = ("faults", "service")


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
def observer(broker: Mosquitto) -> Iterator[Observer]:
    """Sees everything on `broker`."""
    with Observer(broker.port) as watching:
        yield watching


@pytest.fixture
def cloud() -> Iterator[CloudServer]:
    """A running stand-in for the vendor's API, over plain HTTP."""
    with CloudServer() as server:
        yield server


@pytest.fixture
def bridge_process() -> Iterator[Callable[..., BridgeProcess]]:
    """Starts `evse-mqtt-bridge run --config FILE ...`; each is ended after the test."""
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
    """A clock that stands still until it is advanced."""
    return Clock()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait lie among those that compute, which do so meanwhile; none of them is left for the end."""
    waiting = [item for item in items if item.path.parent.name in _WAITING]
    others = [item for item in items if item.path.parent.name not in _WAITING]
    gap = max(1, len(others) * 2 // 3 // max(1, len(waiting)))
    for place, item in enumerate(waiting):
        others.insert(place * (gap + 1), item)
    items[:] = others
