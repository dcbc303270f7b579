"""A stream whose socket does not take anything any more."""

import asyncio
import socket

import pytest

from evse_mqtt_bridge.mqtt.byte_stream import ByteStream, StreamHandlers


class _BrokenTransport:
    """A transport that fails to send, while nothing arrives."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, _limit: int) -> bytes:
        raise BlockingIOError

    def send(self, _data: bytes | bytearray) -> int:
        raise BrokenPipeError

    def has_pending(self) -> bool:
        return False

    def has_unsent(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: the test closes the socket."""


async def test_failed_write_is_reported_once() -> None:
    calls: list[str] = []
    unsent = bytearray(b"x")
    handlers = StreamHandlers(
        arrived=lambda _: calls.append("arrived"),
        handled=lambda: None,
        written=lambda: calls.append("written"),
        write_failed=lambda: calls.append("write failed"),
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = ByteStream(unsent, handlers)
        stream.use(_BrokenTransport(ours))
        stream.flush()
        assert not stream.is_open
    assert calls == ["write failed"]


async def test_stream_still_writes_after_an_error_in_a_handler() -> None:
    """The bridge then ends, and its last messages have to leave."""
    unsent, written = bytearray(), asyncio.Event()

    def fail(_data: bytes) -> None:
        raise ValueError("a bug")

    handlers = StreamHandlers(arrived=fail, handled=lambda: None, written=written.set, write_failed=lambda: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = ByteStream(unsent, handlers)
        stream.use(_Transport(ours))
        with pytest.raises(ValueError, match="a bug"):
            stream.read()
        unsent += b"offline"
        stream.flush_soon()
        await asyncio.wait_for(written.wait(), 10)
        assert theirs.recv(100) == b"offline"
        stream.close()


class _Transport(_BrokenTransport):
    """A transport to which one byte has arrived, and which sends."""

    def receive(self, _limit: int) -> bytes:
        return b"x"

    def send(self, data: bytes | bytearray) -> int:
        return self._socket.send(data)
