"""Drives libcurl's multi interface from the event loop: the loop waits for sockets and timers, libcurl transfers.

The event loop watches one epoll object, which contains libcurl's sockets. So it runs one callback per batch of ready
sockets, and keeps no state of a closed socket that could affect a later socket with the same number. A socket stays in
the epoll object while its connection is idle, because removing and adding it would cost two system calls per request.
If an idle socket becomes readable, because the server closes it or sends unsolicited data, this module removes it from
the epoll object; libcurl detects the cause before it uses the connection again.

The transfers that are added in an iteration of the event loop start together in the next one. A server on another core
then handles the first requests while the others are sent, so most responses have arrived before libcurl waits for them.
Starting each transfer at once needs fewer instructions, but a quarter more CPU time at full load, because each request
wakes up the server.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Callable

import pycurl

from evse_mqtt_bridge.cloud.transport.limits import RECEIVE_BUFFER

__all__ = ["CurlLoop"]

OnFinished = Callable[[pycurl.Curl, int, str], None]
"""Called with a handle whose transfer has ended, libcurl's error code (0: success) and its error message."""

_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE = ~select.EPOLLOUT  # includes errors and hang-ups, which reading distinguishes
_MAX_EVENTS = 256
_RETRY_MS = 20


class CurlLoop:
    """Transfers of libcurl, driven by the event loop that runs when this object is created.

    Args:
        on_finished: Called at the end of each transfer.
        connections: Maximum number of connections that libcurl keeps.
    """

    def __init__(self, on_finished: OnFinished, connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_finished = on_finished
        self._epoll = select.epoll()
        self._registered: dict[int, int] = {}
        """The events for which each socket is in the epoll object."""
        self._wanted: dict[int, int] = {}
        """The events that libcurl waits for, by socket; 0 while the connection is idle."""
        self._transfers = 0
        """Number of transfers that have been added and not yet reported as finished."""
        self._start_handle: asyncio.Handle | None = None
        self._timeouts: deque[int] = deque(maxlen=1)
        """The latest timeout of libcurl in milliseconds, until it is applied; -1: none."""
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        """When libcurl's timeout ends, on the event loop's clock; `None`: it has none. The timer may be earlier."""
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._timeouts.append)
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)

    def add(self, curl: pycurl.Curl) -> None:
        """Start a transfer in the next iteration of the event loop."""
        self._transfers += 1
        self._multi.add_handle(curl)
        if self._start_handle is None:
            self._start_handle = self._loop.call_soon(self._on_start)

    def remove(self, curl: pycurl.Curl) -> None:
        """Abort a transfer at once and close its connection; `on_finished` is not called."""
        self._transfers -= 1
        self._multi.remove_handle(curl)
        if self._timeouts:
            self._apply_timeout()

    def on_new_socket(self, fd: int, _purpose: int) -> int:
        """Set up a new socket of libcurl, whose number may have been used before (SOCKOPTFUNCTION)."""
        self._registered.pop(fd, None)
        self._wanted.pop(fd, None)
        new_socket = socket.socket(fileno=fd)
        new_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        new_socket.detach()
        os.set_inheritable(fd, False)  # noqa: FBT003  # as the function wants it
        return int(pycurl.SOCKOPT_OK)

    def close(self) -> None:
        """Close every connection; the caller must have removed every transfer."""
        for handle in (self._start_handle, self._timer):
            if handle is not None:
                handle.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._multi.close()
        self._epoll.close()
        del self._multi, self._on_finished  # breaks reference cycles, so that memory is freed at once

    # Callbacks of libcurl

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._wanted[fd] = 0
            return
        events = self._wanted[fd] = _EVENTS[what]
        registered = self._registered.get(fd)
        if registered == events:
            return
        if registered is None:
            self._epoll.register(fd, events)
        else:
            self._epoll.modify(fd, events)
        self._registered[fd] = events

    # Callbacks of the event loop

    def _on_ready(self) -> None:
        running = self._transfers
        for fd, events in self._epoll.poll(0, _MAX_EVENTS):
            wanted = self._wanted.get(fd)
            if not wanted:
                self._unregister(fd)
            elif wanted == select.EPOLLIN:
                _, running = self._multi.socket_action(fd, pycurl.CSELECT_IN)
            else:
                write = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
                read = pycurl.CSELECT_IN if events & _READABLE else 0
                _, running = self._multi.socket_action(fd, write | read)
        self._report_finished(running)

    def _unregister(self, fd: int) -> None:
        self._registered.pop(fd, None)
        with contextlib.suppress(OSError):  # it was closed within this batch
            self._epoll.unregister(fd)

    def _on_start(self) -> None:
        self._start_handle = None
        _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._report_finished(running)

    def _on_timer(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._on_timer)
            return
        _, running = self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        if not self._timeouts:  # libcurl ignored it as too early, and set no new timeout
            self._timeouts.append(_RETRY_MS)
        self._report_finished(running)

    # After an action of libcurl

    def _report_finished(self, running: int) -> None:
        """Report the transfers that have ended; there are some if fewer than all are `running`."""
        remaining = running < self._transfers
        while remaining:
            remaining, succeeded, failed = self._multi.info_read()
            self._transfers -= len(succeeded) + len(failed)
            for curl in succeeded:
                self._multi.remove_handle(curl)
                self._on_finished(curl, 0, "")
            for curl, code, text in failed:
                self._multi.remove_handle(curl)
                self._on_finished(curl, code, text)
        if self._timeouts:
            self._apply_timeout()

    def _apply_timeout(self) -> None:
        """Set the timer to the timeout that libcurl has set last."""
        milliseconds = self._timeouts.pop()
        if milliseconds < 0:
            self._due = None
            return
        due = self._due = self._loop.time() + milliseconds / 1000
        # A timer that fires too early costs less than a new timer per request.
        if self._timer is None or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._on_timer)
