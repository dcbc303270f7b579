"""The service manager's side of systemd's notify protocol: a datagram socket that receives notifications."""

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["ServiceManager"]


class ServiceManager:
    """Receives notifications on its own socket; use it as a context manager.

    Args:
        path: Path or abstract name of the socket.
        abstract: Use the abstract namespace, so that there is no socket file.

    Attributes:
        address: The socket's address, as in NOTIFY_SOCKET.
        messages: The messages read so far, each as its assignments.
    """

    def __init__(self, path: Path, *, abstract: bool = False) -> None:
        self.address = f"@{path}" if abstract else str(path)
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path}" if abstract else str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that it sets for a service."""
        return {"NOTIFY_SOCKET": self.address}

    def next_message(self, timeout: float = 10) -> dict[str, str]:
        """Return the next message; fails if none arrives within `timeout` seconds."""
        self._socket.settimeout(timeout)
        try:
            text = self._socket.recv(65_536).decode()
        except TimeoutError:
            raise AssertionError(f"no notification within {timeout} s; the last ones: {self.messages[-5:]}") from None
        message = dict(line.split("=", 1) for line in text.split("\n"))
        self.messages.append(message)
        return message

    def next_message_with(self, key: str, timeout: float = 10) -> dict[str, str]:
        """Return the next message that assigns `key`; skips others, which stay in `messages`."""
        deadline = time.monotonic() + timeout
        while key not in (message := self.next_message(max(deadline - time.monotonic(), 0.001))):
            pass
        return message

    def receives_nothing(self, seconds: float) -> bool:
        """Return whether no message arrives for this long."""
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(65_536, socket.MSG_PEEK)
        except TimeoutError:
            return True
        return False

    def drain(self) -> None:
        """Discard the messages that have arrived, without waiting for more."""
        self._socket.settimeout(0)
        while True:
            try:
                self._socket.recv(65_536)
            except BlockingIOError:
                return
