"""Counts the instructions of a process with Callgrind, which a busy machine does not distort.

Callgrind counts instructions in user space only, and slows a program down about 50 times while it counts; it counts
nothing until it is switched on.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["InstructionCounter", "missing_reason"]

_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
_TIMEOUT = 60


def missing_reason() -> str:
    """Return why instructions cannot be counted here; empty if they can."""
    missing = [tool for tool in ("valgrind", "callgrind_control") if shutil.which(tool) is None]
    return f"{missing[0]} is not on PATH; the package valgrind provides it" if missing else ""


class InstructionCounter:
    """Counts the instructions of one process.

    Args:
        folder: An existing folder for Callgrind's files.
    """

    def __init__(self, folder: Path) -> None:
        self._output = folder / "callgrind"

    def command(self, command: Sequence[str | Path], *, from_start: bool = False) -> list[str | Path]:
        """Return the command under Callgrind, which counts from the first instruction on if `from_start`."""
        count = "yes" if from_start else "no"
        return [
            *("valgrind", "--quiet", "--tool=callgrind", f"--instr-atstart={count}"),
            *(f"--callgrind-out-file={self._output}", *command),
        ]

    def start(self, pid: int) -> None:
        """Count from now on."""
        self._control("--instr=on", pid)
        self._control("--zero", pid)

    def stop(self, pid: int) -> int:
        """Return the number of instructions since the start, and count no more."""
        for file in self._dumps():
            file.unlink()
        self._control("--dump", pid)
        self._control("--instr=off", pid)
        return self.total()

    def total(self) -> int:
        """Return the number of instructions in the dump of a running process, or of one that has ended."""
        (dump,) = self._dumps() or [self._output]
        found = _TOTAL.search(dump.read_text())
        if found is None:
            raise RuntimeError(f"Callgrind wrote no total into {dump}")
        return int(found[1])

    def _dumps(self) -> list[Path]:
        return sorted(self._output.parent.glob(f"{self._output.name}.*"))

    @staticmethod
    def _control(option: str, pid: int) -> None:
        subprocess.run(["callgrind_control", option, str(pid)], check=True, capture_output=True, timeout=_TIMEOUT)
