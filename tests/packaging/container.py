"""The container image, run in place: its own root file system, read-only, in namespaces of its own, as its own user.

There is no container engine in it, only buildah to read the image and util-linux to enter it; all of it needs root.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Container", "Image"]

# $1: the root, $2: the folder mounted at /config, $3: user:group, the rest: the command
_ENTER = """
set -eu
root=$1 config=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 devices "$root/dev"
for device in null urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$config" "$root/config"
mount -o remount,bind,ro "$root/config"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"""


class Image:
    """A local image with its root file system mounted; use it as a context manager."""

    def __init__(self, tag: str) -> None:
        inspected = json.loads(_buildah("inspect", "--type", "image", tag))
        self.config: dict[str, Any] = inspected["Docker"]["config"]
        self._tag = tag
        self._container = ""
        self.root = Path()

    def __enter__(self) -> Self:
        self._container = _buildah("from", "--pull-never", self._tag)
        self.root = Path(_buildah("mount", self._container))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _buildah("umount", self._container)
        _buildah("rm", self._container)

    @property
    def health_command(self) -> list[str]:
        """What the health check runs."""
        form, *command = self.config["Healthcheck"]["Test"]
        assert form == "CMD"
        return list(command)

    def start(self, config: Path, log: Path, *arguments: str, env: Mapping[str, str] | None = None) -> "Container":
        """The image's entry point, with `config` mounted at /config; its output goes to the file `log`."""
        command = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        return Container(self._command(config, command, env or {}), log)

    def run(
        self, config: Path, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Another command in a container like it, run to its end."""
        return subprocess.run(
            self._command(config, command, env or {}), capture_output=True, text=True, timeout=30, check=False
        )

    def _command(self, config: Path, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in env.items())]
        inside = ["env", "-i", "-C", self.config["WorkingDir"], *environment, *command]
        enter = ["sh", "-c", _ENTER, "enter", str(self.root), str(config), self.config["User"], *inside]
        return ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", *enter]


class Container:
    """A running container; use it as a context manager, which always ends it."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.send_signal(signal.SIGCONT)
            self.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        finally:
            self._process.kill()  # takes its child along
            self._process.wait()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The bridge's process, which is the first one inside."""
        parent = self._process.pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text())

    def status(self) -> dict[str, str]:
        """What the kernel says of the bridge's process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def send_signal(self, number: signal.Signals) -> None:
        """Sends the bridge a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 10) -> int:
        """The exit code, once it has ended by itself."""
        return self._process.wait(timeout)


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True).stdout.strip()
