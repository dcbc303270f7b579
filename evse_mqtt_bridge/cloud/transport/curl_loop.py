"""libcurl's multi interface on the event loop: what waits for sockets and time is the loop's, transfers are libcurl's.

The loop watches one epoll object of its own, in which libcurl's sockets are. So a batch of them is one callback of the
loop, and a socket that libcurl closes leaves nothing behind in the loop that would meet a later socket of the same
number. A socket stays in the epoll object while its connection rests between two requests, since taking it out and
putting it in again would cost two system calls for each request; if it then becomes readable, because the server
closes it or sends what nobody asked for, it is taken out, and libcurl notices before it uses the connection again.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable

import pycurl

from evse_mqtt_bridge.cloud.transport.limits import RECEIVE_BUFFER

__all__ = ["CurlLoop"]

Finished = Callable[[pycurl.Curl, int, str], None]
"""Is given a handle that is done with, which is free again, libcurl's code (0: all went well), and its words."""

_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE = ~select.EPOLLOUT  # errors and hang-ups too: reading tells which
_BATCH = 256
_AGAIN = 20  # ms


class CurlLoop:
    """Transfers of libcurl, driven by the event loop that runs when this is made."""

    def __init__(self, finished: Finished, connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._finished = finished
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        """By socket: for which events it is in the epoll object."""
        self._wanted: dict[int, int] = {}
        """By socket: for which events libcurl waits; 0 while its connection rests."""
        self._kick: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._time)
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, curl: pycurl.Curl) -> None:
        """Start a transfer, with the next turn of the loop; its end is told with `finished`."""
        self._multi.add_handle(curl)

    def remove(self, curl: pycurl.Curl) -> None:
        """Give a transfer up at once; its connection is closed, and nothing is told."""
        self._multi.remove_handle(curl)

    def fresh(self, fd: int, _purpose: int) -> int:
        """A SOCKOPTFUNCTION: libcurl has made a socket, whose number may have been another's before."""
        self._watched.pop(fd, None)
        self._wanted.pop(fd, None)
        made = socket.socket(fileno=fd)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.detach()
        os.set_inheritable(fd, False)  # noqa: FBT003  # as it is called
        return int(pycurl.SOCKOPT_OK)

    def close(self) -> None:
        """Close every connection; no transfer may be under way."""
        for waiting in (self._kick, self._alarm):
            if waiting is not None:
                waiting.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._multi.close()
        self._epoll.close()
        del self._multi, self._finished  # which refer to this: without them nothing waits for the garbage collector

    # libcurl asks

    def _watch(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._wanted[fd] = 0
            return
        events = self._wanted[fd] = _EVENTS[what]
        watched = self._watched.get(fd)
        if watched == events:
            return
        if watched is None:
            self._epoll.register(fd, events)
        else:
            self._epoll.modify(fd, events)
        self._watched[fd] = events

    def _time(self, milliseconds: int) -> None:
        if milliseconds == 0:
            if self._kick is None:  # one for all that begin in this turn of the loop
                self._kick = self._loop.call_soon(self._kicked)
            return
        if milliseconds < 0:
            self._due = None
            return
        due = self._due = self._loop.time() + milliseconds / 1000
        # One that rings too early is cheaper than another for each request.
        if self._alarm is None or due < self._alarm.when():
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(due, self._rang)

    # the loop says

    def _ready(self) -> None:
        for fd, events in self._epoll.poll(0, _BATCH):
            wanted = self._wanted.get(fd)
            if not wanted:
                self._rest(fd)
            elif wanted == select.EPOLLIN:
                self._act(fd, pycurl.CSELECT_IN)
            else:
                write = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
                self._act(fd, write | (pycurl.CSELECT_IN if events & _READABLE else 0))
        self._settle()

    def _rest(self, fd: int) -> None:
        self._watched.pop(fd, None)
        with contextlib.suppress(OSError):  # it was closed in this batch
            self._epoll.unregister(fd)

    def _kicked(self) -> None:
        self._kick = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _rang(self) -> None:
        self._alarm = None
        due = self._due
        if due is None:
            return
        if due > self._loop.time():
            self._alarm = self._loop.call_at(due, self._rang)
            return
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        if self._due == due:  # libcurl found it too early, and has nothing new to say
            self._time(_AGAIN)
        self._settle()

    def _act(self, fd: int, events: int) -> None:
        self._multi.socket_action(fd, events)

    def _settle(self) -> None:
        """Tell about the transfers that have ended."""
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for curl in good:
                self._multi.remove_handle(curl)
                self._finished(curl, 0, "")
            for curl, code, words in bad:
                self._multi.remove_handle(curl)
                self._finished(curl, code, words)
