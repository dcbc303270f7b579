"""What each test saw of the fault contract: with `-v` it is shown at the end, row by row."""

from collections.abc import Callable

import pytest

_ROWS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen: list[str] = config.stash.get(_ROWS, [])
    if seen and config.get_verbosity() > 0:
        terminalreporter.section("fault contract")
        for line in sorted(seen):
            terminalreporter.line(line)


@pytest.fixture
def report_row(request: pytest.FixtureRequest) -> Callable[[int, str], None]:
    """Takes down a row of the contract, and in a line what was seen of it."""

    def note(row: int, line: str) -> None:
        request.config.stash[_ROWS].append(f"row {row:2}  {request.node.name}: {line}")

    return note
