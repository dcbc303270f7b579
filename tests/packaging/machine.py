"""A machine with systemd as its first process, in its own namespaces, on the root file system of an image.

It shares the network with the tests, and its changes are discarded at the end. Needs root, buildah and util-linux.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Machine"]

# $1: the root. A service manager expects its own root mount that propagates, devices, and a writable cgroup tree.
_BOOT = """
set -eu
cd "$1"
mount --bind . .
cd "$1"
mkdir -p old
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for folder in run tmp; do mount -t tmpfs tmpfs $folder; done
mount -t tmpfs -o mode=755 devices dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount --make-rprivate /
pivot_root . old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
    umount -l /old
    mount --make-rshared /
    exec /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=0'
"""


class Machine:
    """A machine that boots when its context is entered; `root` is its file system, seen from outside."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._container = ""
        self._cgroup = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.root = Path()

    def __enter__(self) -> Self:
        self._container = _output("buildah", "from", "--pull-never", self._image)
        self.root = Path(_output("buildah", "mount", self._container))
        unified = Path("/sys/fs/cgroup/unified")
        self._cgroup = Path(tempfile.mkdtemp(prefix="test-", dir=unified if unified.exists() else unified.parent))
        # the shell enters its own cgroup, which then is the root of all cgroups that it sees
        enter = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
        namespaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
        self._process = subprocess.Popen(
            ["sh", "-c", enter, "enter", self._cgroup, *namespaces, "sh", "-c", _BOOT, "boot", self.root],
            stdin=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()  # kills its child too, and with it all processes of the machine
            self._process.wait()
        self._wait(lambda: "populated 0" in (self._cgroup / "cgroup.events").read_text(), 10)
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            Path(folder).rmdir()
        _output("buildah", "umount", self._container)
        _output("buildah", "rm", self._container)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside and wait for its exit."""
        assert self._process is not None
        parent = self._process.pid
        first = Path(f"/proc/{parent}/task/{parent}/children").read_text().strip()
        inside = ["nsenter", "--target", first, "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--root", "--wdns=/"]
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
        return subprocess.run(
            [*inside, *command], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def wait_until_booted(self, timeout: float = 30) -> None:
        """Wait until the service manager accepts commands."""
        self._wait(lambda: self.run("systemctl", "is-active", "basic.target").stdout.strip() == "active", timeout)

    def properties(self, unit: str, *names: str) -> Mapping[str, str]:
        """Return the properties of a unit, by name, as the service manager reports them."""
        output = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in output.splitlines())

    def wait_for(self, unit: str, timeout: float = 30, **properties: str) -> None:
        """Wait until the unit has these properties."""
        self._wait(lambda: self.properties(unit, *properties) == properties, timeout)

    def journal(self, unit: str) -> str:
        """Return the unit's messages in the journal."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"the condition is not true after {timeout} s"
            time.sleep(0.1)  # there is no event to wait for from outside


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
