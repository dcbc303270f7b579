"""Samples a running bridge with py-spy and attributes its CPU time to parts of the package."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

__all__ = ["ANSWER", "LOOP", "OBSERVABILITY", "PUBLISHING", "REQUEST", "SCHEDULING", "STATE", "sampled", "shares"]

REQUEST = "request: libcurl, TLS, sockets"
ANSWER = "parsing and validation of the response"
STATE = "state and rendering of changed messages"
PUBLISHING = "publishing: paho, socket"
SCHEDULING = "scheduling: workers and schedule"
OBSERVABILITY = "log, history and counters"
LOOP = "event loop and everything else"

_PARTS = {
    "cloud/wire.py": ANSWER,
    "cloud/": REQUEST,
    "domain/": STATE,
    "mqtt/": PUBLISHING,
    "observability/": OBSERVABILITY,
    "polling/": SCHEDULING,
    "publishing/": STATE,
    "service/": SCHEDULING,
    "web/": OBSERVABILITY,
}
"""Part by the beginning of a path within the package; the first match counts."""

_FRAME = re.compile(r"\((?:.*/)?evse_mqtt_bridge/(?P<path>[^:)]*)")
_WAIT = re.compile(r"wait \(\S*threading\.py:\d+\)$")
"""The end of the stack of a waiting thread, which py-spy takes for a busy one on some machines."""

_PER_SECOND = 200


def sampled(pid: int, seconds: int, folder: Path) -> dict[str, float] | None:
    """Sample process `pid` and return each part's share of the time, from 0 to 1.

    None if py-spy is not installed or not permitted to inspect the process.
    """
    tool = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if tool is None:
        return None
    output = folder / "samples"
    command = [tool, "record", "--format", "raw", "--rate", str(_PER_SECOND), "--duration", str(seconds)]
    result = subprocess.run([*command, "--output", output, "--pid", str(pid)], capture_output=True, check=False)
    return shares(output.read_text()) if result.returncode == 0 else None


def shares(samples: str) -> dict[str, float]:
    """Return each part's share of the samples in py-spy's raw format: a stack, outermost frame first, and its count."""
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        if not _WAIT.search(stack):
            counts[_part(stack)] += int(count)
    return {part: count / counts.total() for part, count in counts.items()}


def _part(stack: str) -> str:
    """Return the part of the innermost frame within the package; libraries count for the part that calls them."""
    for frame in reversed(stack.split(";")):
        if found := _FRAME.search(frame):
            path = found["path"]
            return next((part for start, part in _PARTS.items() if path.startswith(start)), LOOP)
    return LOOP
