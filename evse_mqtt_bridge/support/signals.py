"""Handles the signals of the command `run`, from the first moment of the process until its end.

| phase | SIGTERM, SIGINT | SIGHUP |
| --- | --- | --- |
| starting: there is no event loop yet | end the process, with exit code 0 | requests a reload once there is one |
| running | request a stop | requests a reload |
| stopping: the work is done, the process exits | are ignored | is ignored |

Handlers of the event loop would not do: they exist only while there is a loop, and a loop that closes restores the
default action of each signal, which is to kill the process.

This module is imported before all others, so it imports little itself.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["SignalHandler"]

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_ALL = (*_STOP, signal.SIGHUP)


class SignalHandler:
    """Receives the signals of this process. Create it in the main thread."""

    def __init__(self) -> None:
        self._is_starting = True
        self._pending: list[int] = []
        for number in _ALL:
            signal.signal(number, self._handle)

    @contextmanager
    def forwarded(self, stop: Callable[[], object], reload: Callable[[], object]) -> Iterator[None]:
        """Call `stop` and `reload` from the running event loop until the context ends, also for pending signals."""
        import asyncio  # noqa: PLC0415  # see the module's docstring
        import socket  # noqa: PLC0415  # as above

        def dispatch(numbers: bytes | list[int]) -> None:
            for number in numbers:
                (stop if number in _STOP else reload)()

        loop = asyncio.get_running_loop()
        # Python writes the number of each signal to `sender`, whichever thread receives it, and so wakes the loop.
        receiver, sender = socket.socketpair()
        with receiver, sender:
            receiver.settimeout(0)
            sender.settimeout(0)
            previous = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            loop.add_reader(receiver, lambda: dispatch(receiver.recv(4096)))
            self._is_starting = False
            dispatch(self._pending)
            try:
                yield
            finally:
                _ignore_signals()
                loop.remove_reader(receiver)
                signal.set_wakeup_fd(previous)

    def _handle(self, number: int, _frame: "FrameType | None") -> None:
        if self._is_starting:
            self._pending.append(number)
            if number in _STOP:
                raise SystemExit(0)  # if something suppresses the exception, the pending signal stops the event loop


def _ignore_signals() -> None:
    """Ignore further signals until the process ends; Python would restore the default of other handlers before."""
    for number in _ALL:
        signal.signal(number, signal.SIG_IGN)
