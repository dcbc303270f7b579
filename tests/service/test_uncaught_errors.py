"""Exceptions that nothing catches: bugs end the process, errors of the system are logged."""

import asyncio
import errno
import io
import json
from typing import Any

import pytest

from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.service.uncaught_errors import LINES_PER_MINUTE, UncaughtErrors
from tests.harness import Clock


class _LoggedErrors:
    def __init__(self, clock: Clock) -> None:
        self._stream = io.StringIO()
        log = make_logger("info", "json", self._stream)
        self.errors = UncaughtErrors(lambda: log, clock)

    def handle(self, **context: object) -> None:
        self.errors.handle(asyncio.get_running_loop(), context)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
async def uncaught(clock: Clock) -> _LoggedErrors:
    return _LoggedErrors(clock)


async def test_handle_bug_ends_the_process(uncaught: _LoggedErrors) -> None:
    uncaught.handle(message="Exception in callback", exception=ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        uncaught.errors.bug.result()
    assert uncaught.lines == []


async def test_handle_system_error_is_logged(uncaught: _LoggedErrors) -> None:
    error = OSError(errno.EMFILE, "Too many open files")
    uncaught.handle(message="socket.accept() out of system resource", exception=error)
    assert not uncaught.errors.bug.done()
    (line,) = uncaught.lines
    assert (line["level"], line["detail"]) == ("error", "socket.accept() out of system resource: Too many open files")


async def test_handle_message_without_exception_is_logged(uncaught: _LoggedErrors) -> None:
    uncaught.handle(message="unclosed transport")
    assert [line["detail"] for line in uncaught.lines] == ["unclosed transport"]


async def test_handle_second_bug_is_logged(uncaught: _LoggedErrors) -> None:
    for text in ("first", "second"):
        uncaught.handle(message=text, exception=ValueError(text))
    assert [line["detail"] for line in uncaught.lines] == ["second"]
    assert isinstance(uncaught.errors.bug.exception(), ValueError)


async def test_handle_many_system_errors_are_limited(uncaught: _LoggedErrors, clock: Clock) -> None:
    for _ in range(LINES_PER_MINUTE + 5):
        uncaught.handle(message="no room")
    assert len(uncaught.lines) == LINES_PER_MINUTE
    clock.advance(61)
    uncaught.handle(message="no room")
    assert len(uncaught.lines) == LINES_PER_MINUTE + 1
    assert 5 in uncaught.lines[-1].values()


async def test_request_failed_logs_the_bug_and_goes_on(uncaught: _LoggedErrors) -> None:
    uncaught.errors.request_failed(RuntimeError("a bug in a handler"))
    (line,) = uncaught.lines
    assert "RuntimeError: a bug in a handler" in line["exception"]
    assert not uncaught.errors.bug.done()
