"""Where the time of a running bridge goes, part by part and in place, as py-spy sees it from outside."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

__all__ = ["AGENDA", "ANSWER", "LOOP", "PUBLISHING", "REQUEST", "STATE", "WATCHING", "sampled", "shares"]

REQUEST = "the request: libcurl, TLS, sockets"
ANSWER = "the answer, from bytes to a validated reading"
STATE = "the state moved on, what changed put into words"
PUBLISHING = "publishing: paho, socket"
AGENDA = "turns: workers and agenda"
WATCHING = "log, history and counts"
LOOP = "the event loop, and what belongs to none of these"

_PARTS = {
    "cloud/wire.py": ANSWER,
    "cloud/": REQUEST,
    "broker/outbox.py": STATE,
    "broker/": PUBLISHING,
    "bridge.py": STATE,
    "core/schedule.py": AGENDA,
    "core/": STATE,
    "polling.py": AGENDA,
    "app.py": AGENDA,
    "event_log.py": WATCHING,
    "monitor/": WATCHING,
}
"""By the beginning of a path within the package; the first that fits counts."""

_FRAME = re.compile(r"\((?:.*/)?evse_mqtt_bridge/(?P<path>[^:)]*)")
_PER_SECOND = 200


def sampled(pid: int, seconds: int, folder: Path) -> dict[str, float] | None:
    """The share of each part in the time of process `pid`; `None` where py-spy is not there or may not look."""
    tool = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if tool is None:
        return None
    output = folder / "samples"
    command = [tool, "record", "--format", "raw", "--rate", str(_PER_SECOND), "--duration", str(seconds)]
    ended = subprocess.run([*command, "--output", output, "--pid", str(pid)], capture_output=True, check=False)
    return shares(output.read_text()) if ended.returncode == 0 else None


def shares(samples: str) -> dict[str, float]:
    """The same, from py-spy's lines: a stack, from its outermost frame to its innermost, and how often it was seen."""
    seen: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, times = line.rpartition(" ")
        seen[_part(stack)] += int(times)
    return {part: times / seen.total() for part, times in seen.items()}


def _part(stack: str) -> str:
    """The part that the innermost frame of the bridge's own belongs to; what it calls of others is done for it."""
    for frame in reversed(stack.split(";")):
        if found := _FRAME.search(frame):
            path = found["path"]
            return next((part for start, part in _PARTS.items() if path.startswith(start)), LOOP)
    return LOOP
