"""Runs an etcd process on a free port of 127.0.0.1, with its own folder."""

import json
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
    """A node of a cluster, by default the only one, that keeps its port; use it as a context manager.

    The test is skipped without etcd.

    Args:
        folder: Folder for its data and log.
        certificate: The server certificate; `None`: no TLS.
        arguments: Further arguments, such as `--client-cert-auth`.
        name: The name of the node.

    Attributes:
        nodes: The peer URLs of all nodes of the cluster by name; set it before the first start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Certificate | None = None,
        arguments: Sequence[str] = (),
        name: str = "default",
    ) -> None:
        if shutil.which("etcd") is None:
            pytest.skip("etcd is not installed; `make test` installs it where apt has it")
        self._folder = folder
        self._certificate = certificate
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._name = name
        self._peer = f"http://{HOST}:{free_port()}"
        self.nodes = {name: self._peer}

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
    def is_leader(self) -> bool:
        """Whether the node is the leader of its cluster."""
        [status] = json.loads(self.control("endpoint", "status", "--write-out=json"))
        return bool(status["Status"]["leader"] == status["Status"]["header"]["member_id"])

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return (self._folder / "etcd.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self.launch()
        try:
            wait_until_listening(self.port, self._exit_reason)
        except BaseException:
            self.kill()
            raise

    @staticmethod
    def cluster(folder: Path, size: int) -> "list[EtcdServer]":
        """Return the nodes of a cluster, which do not run yet."""
        servers = [EtcdServer(folder / f"node-{number}", name=f"node-{number}") for number in range(size)]
        nodes = {name: url for server in servers for name, url in server.nodes.items()}
        for server in servers:
            server.nodes = nodes
        return servers

    def launch(self) -> None:
        """Start the server, and do not wait; a node of a cluster accepts connections only with others."""
        assert self._process is None, "etcd is running already"
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["etcd", *self._options()], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )

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
        cluster = ",".join(f"{name}={url}" for name, url in self.nodes.items())
        options = [
            f"--name={self._name}",
            f"--data-dir={self._folder / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self._peer}",
            f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster={cluster}",
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
