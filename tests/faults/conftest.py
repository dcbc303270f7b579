"""Scenarios that take their time, and what each test saw of the fault contract.

A test marked `beside(..., scenario=run)` gets from `outcome()` what `run(folder, ...)` returns, or raises. It runs in a
thread beside the other tests of this folder, from the first of them on. With `-v`, what the tests saw is shown at the
end, row by row.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

_SEEN = pytest.StashKey[list[str]]()
_AT_ONCE = 8
_LONGEST = 200.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "beside(*arguments, scenario): a scenario that runs beside the other tests")
    config.stash[_SEEN] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("beside") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen: list[str] = config.stash.get(_SEEN, [])
    if seen and config.get_verbosity() > 0:
        terminalreporter.section("fault contract")
        for line in sorted(seen):
            terminalreporter.line(line)


@pytest.fixture
def saw(request: pytest.FixtureRequest) -> Callable[[int, str], None]:
    """Takes down a row of the contract, and in a line what was seen of it."""

    def note(row: int, line: str) -> None:
        request.config.stash[_SEEN].append(f"row {row:2}  {request.node.name}: {line}")

    return note


@pytest.fixture(scope="session")
def scenarios(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Any]]]:
    """The scenarios of all tests that were chosen, under way."""
    marked = [(item, marker) for item in request.session.items if (marker := item.get_closest_marker("beside"))]
    with ThreadPoolExecutor(_AT_ONCE, "beside") as pool:
        yield {
            item.nodeid: pool.submit(_scenario(marker), tmp_path_factory.mktemp("beside")) for item, marker in marked
        }


def _scenario(marker: pytest.Mark) -> Callable[[Path], Any]:
    return lambda folder: marker.kwargs["scenario"](folder, *marker.args)


@pytest.fixture(autouse=True)
def _under_way(scenarios: dict[str, Future[Any]]) -> None:
    """The first test of this folder sets them going."""


@pytest.fixture
def outcome(request: pytest.FixtureRequest, scenarios: dict[str, Future[Any]]) -> Callable[[], Any]:
    """Waits for the scenario of this test to end, and gives what it returned."""
    return lambda: scenarios[request.node.nodeid].result(_LONGEST)
