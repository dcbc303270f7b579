"""Lines for systemd's journal start with their priority; other streams get none."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from evse_mqtt_bridge.observability.journal import is_journal, mark_unmarked
from tests.harness.bridge import clean_environment

_LINES = """
    import sys
    from evse_mqtt_bridge.observability.log import make_logger
    from evse_mqtt_bridge.observability.log_writer import LogWriter

    LogWriter.replace_stderr()
    log = make_logger("debug", sys.argv[1])
    log.debug("one")
    log.info("two")
    log.warning("three")
    try:
        raise ValueError("cause")
    except ValueError:
        log.error("four", exc_info=True)
    print("an error of a command\\n\\nwith another line", file=sys.stderr)
    raise RuntimeError("crash")
"""


class _Pipe:
    def __init__(self) -> None:
        self.readable, self.writable = os.pipe()

    @property
    def journal_stream(self) -> str:
        """The value of JOURNAL_STREAM of a process whose stderr is this pipe."""
        status = os.fstat(self.writable)
        return f"{status.st_dev}:{status.st_ino}"


@pytest.fixture
def pipe() -> Iterator[_Pipe]:
    pipe = _Pipe()
    yield pipe
    os.close(pipe.readable)
    os.close(pipe.writable)


def _run(form: str, stderr: int | IO[bytes], journal_stream: str) -> None:
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LINES), form],
        stderr=stderr,
        env=clean_environment({"JOURNAL_STREAM": journal_stream}),
        cwd=Path(__file__).parents[2],
        timeout=30,
        check=False,
    )


def _priorities(output: str, *texts: str) -> list[str]:
    """Return the start of the line with each of these texts."""
    return [next(line[:3] for line in output.splitlines() if text in line) for text in texts]


@pytest.mark.parametrize("form", ["console", "json"])
def test_every_line_for_the_journal_has_a_priority(pipe: _Pipe, form: str) -> None:
    _run(form, pipe.writable, pipe.journal_stream)
    output = os.read(pipe.readable, 65536).decode()
    assert _priorities(output, "one", "two", "three", "four") == ["<7>", "<6>", "<4>", "<3>"]
    assert _priorities(output, "cause", "with another line", "RuntimeError: crash") == ["<3>"] * 3
    assert {line[:3] for line in output.splitlines() if line} == {"<7>", "<6>", "<4>", "<3>"}
    assert output.count("<3>") == sum(line.startswith("<3>") for line in output.splitlines())


def test_configuration_error_for_the_journal_is_an_error(pipe: _Pipe, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhots = "localhost"\n[clowd]\n')
    result = subprocess.run(
        [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", config],
        stderr=pipe.writable,
        env=clean_environment({"JOURNAL_STREAM": pipe.journal_stream}),
        timeout=30,
        check=False,
    )
    lines = os.read(pipe.readable, 65536).decode().splitlines()
    assert (result.returncode, len(lines) > 1) == (78, True)
    assert {line[:3] for line in lines} == {"<3>"}


def test_redirected_stderr_of_a_service_has_no_priorities(pipe: _Pipe, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        _run("console", file, pipe.journal_stream)
    output = (tmp_path / "log").read_text()
    assert ("crash" in output, "<" in output.replace("<module>", "").replace("<string>", "")) == (True, False)


@pytest.mark.parametrize("value", ["", "1", "a:b", "1:2", "1:2:3"])
def test_stream_is_not_the_journal_of_another_descriptor(tmp_path: Path, value: str) -> None:
    with (tmp_path / "log").open("w") as file:
        assert not is_journal(file, {"JOURNAL_STREAM": value})
        status = os.fstat(file.fileno())
        assert is_journal(file, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (b"one\ntwo\n", b"<3>one\n<3>two\n"),
        (b"<6>one\ntwo\n\n", b"<6>one\n<3>two\n\n"),
        (b"<9>one\n", b"<3><9>one\n"),
        (b"", b""),
    ],
)
def test_only_lines_without_priority_are_marked(text: bytes, marked: bytes) -> None:
    assert mark_unmarked(text) == marked
