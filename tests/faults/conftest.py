"""Reports the measurements of the tests for each row of the fault contract; `pytest -v` prints them at the end."""

from collections.abc import Callable

import pytest

_ROWS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines: list[str] = config.stash.get(_ROWS, [])
    if lines and config.get_verbosity() > 0:
        terminalreporter.section("fault contract")
        for line in sorted(lines):
            terminalreporter.line(line)


@pytest.fixture
def report_row(request: pytest.FixtureRequest) -> Callable[[int, str], None]:
    """A function that reports the number of a contract row and one line about it."""

    def report(row: int, line: str) -> None:
        request.config.stash[_ROWS].append(f"row {row:2}  {request.node.name}: {line}")

    return report
