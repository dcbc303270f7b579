"""libcurl's multi interface on the event loop: sockets and timers are the loop's, transfers are libcurl's."""

import asyncio
from collections.abc import Mapping

import pycurl

__all__ = ["Curl"]


class Curl:
    """Up to `connections` transfers at once; what is answered is thrown away."""

    def __init__(self, ca: str, connections: int, headers: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._time)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections)
        self._lines = [f"{name}: {value}" for name, value in headers.items()]
        self._ca = ca
        self._idle: list[pycurl.Curl] = []
        self._waiting: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, address: str) -> int:
        """The status of the answer."""
        handle = self._idle.pop() if self._idle else self._new()
        handle.setopt(pycurl.URL, address)
        done = self._waiting[handle] = self._loop.create_future()
        self._multi.add_handle(handle)
        await done
        self._multi.remove_handle(handle)
        self._idle.append(handle)
        return int(handle.getinfo(pycurl.RESPONSE_CODE))

    def _new(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.CAINFO, self._ca)
        handle.setopt(pycurl.HTTPHEADER, self._lines)
        handle.setopt(pycurl.TIMEOUT, 10)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.WRITEFUNCTION, lambda _: None)
        return handle

    def _watch(self, what: int, socket: int, _multi: object, _data: object) -> None:
        for wanted, add, remove, event in (
            (pycurl.POLL_IN, self._loop.add_reader, self._loop.remove_reader, pycurl.CSELECT_IN),
            (pycurl.POLL_OUT, self._loop.add_writer, self._loop.remove_writer, pycurl.CSELECT_OUT),
        ):
            if what != pycurl.POLL_REMOVE and what & wanted:
                add(socket, self._act, socket, event)
            else:
                remove(socket)

    def _time(self, milliseconds: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if milliseconds >= 0:
            self._timer = self._loop.call_later(milliseconds / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, socket: int, event: int) -> None:
        self._multi.socket_action(socket, event)
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for handle in good:
                self._waiting.pop(handle).set_result(None)
            for handle, _, words in bad:
                self._waiting.pop(handle).set_exception(OSError(words))
