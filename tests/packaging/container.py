"""Runs the container image without a container engine: its root file system read-only, own namespaces, own user.

buildah reads the image and util-linux creates the namespaces; both need root.
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
    """A local image whose root file system is mounted at `root`; use it as a context manager."""

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
        """The command of the image's health check."""
        form, *command = self.config["Healthcheck"]["Test"]
        assert form == "CMD"
        return list(command)

    def start(self, config: Path, log: Path, *arguments: str, env: Mapping[str, str] | None = None) -> "Container":
        """Start the image's entry point.

        Args:
            config: Folder to mount at /config.
            log: File for stdout and stderr.
            arguments: Arguments for the entry point instead of the image's default.
            env: Additional environment variables.
        """
        command = [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        return Container(self._command(config, command, env or {}), log)

    def run(
        self, config: Path, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run another command in a second container and wait for its exit."""
        return subprocess.run(
            self._command(config, command, env or {}), capture_output=True, text=True, timeout=30, check=False
        )

    def _command(self, config: Path, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in env.items())]
        inside = ["env", "-i", "-C", self.config["WorkingDir"], *environment, *command]
        enter = ["sh", "-c", _ENTER, "enter", str(self.root), str(config), self.config["User"], *inside]
        return ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", *enter]


class Container:
    """A running container; use it as a context manager, which always stops it."""

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
            self._process.kill()  # kills its child too
            self._process.wait()

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process id of the bridge, which is the first process in the container."""
        parent = self._process.pid
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text())

    def status(self) -> dict[str, str]:
        """Return the kernel's status of the bridge's process."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def send_signal(self, number: signal.Signals) -> None:
        """Send the bridge a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 10) -> int:
        """Wait for the process to exit and return its exit code."""
        return self._process.wait(timeout)


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True).stdout.strip()
