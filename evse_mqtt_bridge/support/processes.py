"""Identifies processes of this machine, so that a signal reaches the process that is meant (Linux)."""

import os
import signal
from pathlib import Path

__all__ = ["identity_of", "send_signal"]

_START_TIME = 19
"""Index of the start time in /proc/PID/stat, counted from the field after the name (proc(5))."""


def identity_of(pid: int) -> str:
    """Return a text that differs between all processes of this machine since it was started; empty if it is unknown.

    It has the PID namespace, because a container has PIDs of its own, and the start time, because a PID is used again.
    """
    return _identity(pid, str(pid))


def send_signal(pid: int, identity: str, number: signal.Signals) -> bool:
    """Send a signal to a process; return false, and send nothing, if another process has the PID, or none.

    Raises:
        PermissionError: This user may not send it signals.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Linux hides the namespace of a process of another user. If it is the own one, the start time is sufficient.
        if identity not in {identity_of(pid), _identity(pid, "self")}:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _identity(pid: int, member: str) -> str:
    """Return the identity of a process, with the PID namespace of the process `member`; empty if it is unknown."""
    try:
        namespace = Path(f"/proc/{member}/ns/pid").readlink()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{namespace} {pid} {fields[_START_TIME]}"
