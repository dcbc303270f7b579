"""Runs an etcd process on a free port of 127.0.0.1, with its own folder."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.harness.certificates import Certificate
from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["EtcdServer"]


class EtcdServer:
    """A cluster of one node that keeps its port; use it as a context manager. The test is skipped without etcd.

    Args:
        folder: Folder for its data and log.
        certificate: The server certificate; `None`: no TLS.
        arguments: Further arguments, such as `--client-cert-auth`.
    """

    def __init__(self, folder: Path, *, certificate: Certificate | None = None, arguments: Sequence[str] = ()) -> None:
        if shutil.which("etcd") is None:
            pytest.skip("etcd is not installed; `make test` installs it where apt has it")
        self._folder = folder
        self._certificate = certificate
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._peer_port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The client URL."""
        return f"{'https' if self._certificate else 'http'}://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return (self._folder / "etcd.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        assert self._process is None, "etcd is running already"
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["etcd", *self._options()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )
        try:
            wait_until_listening(self.port, self._exit_reason)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the server (SIGKILL); its data remain."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def empty(self) -> None:
        """Kill the server, and start it without its data."""
        self.kill()
        shutil.rmtree(self._folder / "data")
        self.start()

    def freeze(self) -> None:
        """Suspend the server: connections stay open, but it does not respond (SIGSTOP)."""
        os.waitid(os.P_PID, self._signal(signal.SIGSTOP), os.WSTOPPED)  # until all its threads stand still

    def thaw(self) -> None:
        """Resume the server after `freeze()` (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def control(self, *arguments: str, stdin: str = "") -> str:
        """Run `etcdctl`, and return its output. The test is skipped without it."""
        if shutil.which("etcdctl") is None:
            pytest.skip("etcdctl is not installed")
        command = ["etcdctl", f"--endpoints={self.url}", *arguments]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(command, env=environment, input=stdin, check=True, capture_output=True, text=True).stdout

    def _signal(self, number: int) -> int:
        """Send a signal, and return the process id."""
        assert self._process is not None, "etcd is not running"
        os.kill(self._process.pid, number)
        return self._process.pid

    def _options(self) -> list[str]:
        peer = f"http://{HOST}:{self._peer_port}"
        options = [
            f"--data-dir={self._folder / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--heartbeat-interval=20",  # a single node elects itself after this multiple of milliseconds
            "--election-timeout=200",
            *self._arguments,
        ]
        if self._certificate is not None:
            options += [f"--cert-file={self._certificate.cert_file}", f"--key-file={self._certificate.key_file}"]
        return options

    def _exit_reason(self) -> str | None:
        if self._process is not None and self._process.poll() is not None:
            return f"etcd exited with {self._process.returncode}:\n{self.log}"
        return None
