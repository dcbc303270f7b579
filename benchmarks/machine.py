"""This machine: a core for what is measured and the others for the rest, what a process costs, and a line for reports.

Linux only: it reads /proc and uses taskset.
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

__all__ = ["Usage", "description", "pinned", "stay_aside", "usage"]

_PACKAGES = ("aiohttp", "httpx", "paho-mqtt", "pycurl", "pydantic", "requests")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: `cpu` in seconds since its start, `memory` resident in bytes, open `files`."""

    cpu: float
    memory: int
    files: int


def usage(pid: int) -> Usage:
    """What process `pid` has used so far.

    Raises:
        OSError: there is no such process.
    """
    proc = Path("/proc") / str(pid)
    # the name, in brackets, may hold spaces
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    pages = int((proc / "statm").read_text().split()[1])
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, pages * _PAGE, len(list((proc / "fd").iterdir())))


def pinned(command: Sequence[str | Path], *, measured: bool = False) -> list[str]:
    """`command`, bound to the core for what is measured, or to all others; unbound on a machine with one core."""
    words = [str(word) for word in command]
    own, others = _cores()
    return ["taskset", "--cpu-list", own if measured else others, *words] if others else words


def stay_aside() -> None:
    """Keep this process off the core of what is measured."""
    _, others = _cores()
    if others:
        os.sched_setaffinity(0, {int(core) for core in others.split(",")})


def description() -> str:
    """The machine and the versions that figures depend on, in one line."""
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, {packages}; {_tool('mosquitto', '-h')}; {_tool('nginx', '-v')}; "
        f"evse-mqtt-bridge {version('evse-mqtt-bridge')}"
    )


@cache
def _cores() -> tuple[str, str]:
    """The core for what is measured, and the others, as taskset takes them; the others are empty where it cannot be."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others or shutil.which("taskset") is None:
        print("one core only, or no taskset: nothing is bound, figures are rougher", file=sys.stderr)
        return str(first), ""
    return str(first), ",".join(map(str, others))


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _tool(name: str, option: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    told = subprocess.run([shutil.which(name, path=path) or name, option], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+\.\d+(\.\d+)?)", told.stdout + told.stderr)
    return f"{name} {found[1] if found else 'of unknown version'}"
