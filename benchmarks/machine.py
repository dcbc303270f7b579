"""Assigns CPU cores, measures a process, and describes this machine.

The measured process has one core for itself; everything else shares the others. Linux only: this module reads /proc and
uses taskset.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["Usage", "description", "leave_measured_core", "pin", "usage"]

_PACKAGES = ("aiohttp", "httpx", "paho-mqtt", "pycurl", "pydantic", "requests")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources that a process uses.

    Attributes:
        cpu: CPU seconds since its start.
        memory: Resident memory in bytes.
        files: Number of open files.
    """

    cpu: float
    memory: int
    files: int


def usage(pid: int) -> Usage:
    """Return the resources that process `pid` uses.

    Raises:
        OSError: The process does not exist.
    """
    proc = Path("/proc") / str(pid)
    # The process name, in brackets, may contain spaces.
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    pages = int((proc / "statm").read_text().split()[1])
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, pages * _PAGE, len(list((proc / "fd").iterdir())))


def pin(command: Sequence[str | Path], *, measured: bool = False) -> list[str]:
    """Return the command, pinned to the measured process's core or to all others; unchanged if there is one core."""
    arguments = [str(argument) for argument in command]
    measured_core, others = _cores()
    return ["taskset", "--cpu-list", measured_core if measured else others, *arguments] if others else arguments


def leave_measured_core() -> None:
    """Pin this process to the cores other than the measured process's."""
    _, others = _cores()
    if others:
        os.sched_setaffinity(0, {int(core) for core in others.split(",")})


def description() -> str:
    """Return the machine and the versions that results depend on, in one line."""
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, {packages}; {_tool('mosquitto', '-h')}; {_tool('nginx', '-v')}; "
        f"evse-mqtt-bridge {version('evse-mqtt-bridge')}"
    )


@cache
def _cores() -> tuple[str, str]:
    """Return the measured process's core and the others, in taskset's format; no others if nothing can be pinned."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others or shutil.which("taskset") is None:
        print("only one core, or no taskset: processes are not pinned, results are less precise", file=sys.stderr)
        return str(first), ""
    return str(first), ",".join(map(str, others))


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _tool(name: str, option: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    result = subprocess.run(
        [shutil.which(name, path=path) or name, option], capture_output=True, text=True, check=False
    )
    found = re.search(r"(\d+\.\d+(\.\d+)?)", result.stdout + result.stderr)
    return f"{name} {found[1] if found else 'of unknown version'}"
