"""Stderr is written without blocking its writers: nothing is lost that somebody reads, and lost lines are counted."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evse_mqtt_bridge.observability.log_writer import QUEUE_LIMIT, LogWriter
from tests.harness.bridge import clean_environment
from tests.harness.pipes import StuckPipe

_LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe() -> Iterator[StuckPipe]:
    """A full pipe that nobody reads."""
    with StuckPipe() as stuck:
        yield stuck


@pytest.fixture
def make_writer(pipe: StuckPipe) -> Iterator[Callable[..., LogWriter]]:
    """A function that creates a writer to the pipe. After the test, all writers are idle."""
    writers = []

    def make(limit: int = QUEUE_LIMIT) -> LogWriter:
        writers.append(LogWriter(pipe.writable, limit))
        return writers[-1]

    yield make
    pipe.close_reader()
    assert all(writer.drain(10) for writer in writers)


def test_writer_keeps_lines_until_the_pipe_is_read(pipe: StuckPipe, make_writer: Callable[..., LogWriter]) -> None:
    writer = make_writer()
    for number in range(50):
        writer.write(b"line %d\n" % number)
    assert not writer.drain(0)
    pipe.read(pipe.filled)
    assert writer.drain(10)
    assert pipe.read(10_000).splitlines() == [b"line %d" % number for number in range(50)]
    assert writer.dropped == 0


def test_writer_counts_lines_beyond_its_limit(make_writer: Callable[..., LogWriter]) -> None:
    writer = make_writer(limit=1000)
    for _ in range(25):
        writer.write(_LINE)
    assert writer.dropped == 15
    writer.write(_LINE * 3)
    assert writer.dropped == 18


def test_dropped_lines_are_reported_once_there_is_room(pipe: StuckPipe, make_writer: Callable[..., LogWriter]) -> None:
    writer = make_writer(limit=1000)
    for _ in range(25):
        writer.write(_LINE)
    assert writer.pop_dropped() == 0, "a line about them would be dropped"
    pipe.read(pipe.filled)
    assert writer.drain(10)
    assert (writer.pop_dropped(), writer.pop_dropped(), writer.dropped) == (15, 0, 15)


def test_writer_on_full_disk_counts_lines_and_reports_later() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(full)
    writer.write(_LINE * 2)
    assert writer.drain(10)
    assert (writer.dropped, writer.pop_dropped()) == (2, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), full)
    writer.write(_LINE)
    assert writer.drain(10)
    assert writer.pop_dropped() == 2


def test_writer_waits_if_the_descriptor_is_non_blocking(pipe: StuckPipe, make_writer: Callable[..., LogWriter]) -> None:
    os.set_blocking(pipe.writable, False)
    writer = make_writer()
    writer.write(_LINE)
    assert not writer.drain(0.05)
    pipe.read(pipe.filled)
    assert writer.drain(10)
    assert (pipe.read(1000), writer.dropped) == (_LINE, 0)


_CRASH = """
    import sys, warnings
    from evse_mqtt_bridge.observability.log_writer import LogWriter
    LogWriter.replace_stderr()
    for number in range(2000):
        print("line", number, file=sys.stderr)
    warnings.warn("a warning")
    raise ValueError("the cause")
"""


def _run_script(script: str, stderr: int, timeout: float = 30) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    folder = Path(__file__).parents[2]
    return subprocess.run(command, stderr=stderr, env=clean_environment(), cwd=folder, timeout=timeout, check=False)


def test_crash_loses_neither_lines_nor_traceback() -> None:
    result = _run_script(_CRASH, subprocess.PIPE)
    lines = result.stderr.decode().splitlines()
    assert lines[:2000] == [f"line {number}" for number in range(2000)]
    assert "a warning" in lines[2000]
    assert ("Traceback (most recent call last):" in lines, lines[-1]) == (True, "ValueError: the cause")
    assert result.returncode == 1


def test_crash_with_unread_stderr_ends_the_process(pipe: StuckPipe) -> None:
    assert _run_script(_CRASH, pipe.writable, timeout=10).returncode == 1
