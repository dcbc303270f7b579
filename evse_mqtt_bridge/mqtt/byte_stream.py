"""The bytes of one connection on the event loop: reads and handles them in short steps, and writes as room allows."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from evse_mqtt_bridge.mqtt.transport import Transport

__all__ = ["ByteStream", "StreamHandlers"]

READ_STEP = 0.01
"""Seconds after which reading pauses for the rest of the event loop, however much has arrived."""

ARRIVED_LIMIT = 16 * 1024 * 1024
"""Maximum size of what is read but not yet handled, in bytes; the manifest of 20,000 stations has about 14 MB."""

_CHUNK = 16 * 1024
"""Bytes to read at once, as many as a TLS record holds; handling them takes a few milliseconds at most."""


@dataclass(frozen=True, slots=True)
class StreamHandlers:
    """The callbacks of a stream, called on the event loop.

    Attributes:
        arrived: Called with bytes in the order of their arrival; no bytes: the other side has closed the stream.
        handled: Called after a step of handling; what it adds to the bytes to write is written at once.
        written: Called when the socket has taken everything.
        write_failed: Called when the socket takes nothing any more; the stream is closed.
    """

    arrived: Callable[[bytes], None]
    handled: Callable[[], None]
    written: Callable[[], None]
    write_failed: Callable[[], None]


class ByteStream:
    """The stream of one connection.

    Args:
        unsent: The bytes to write, in order. Others add to it, and call `flush_soon`.
        handlers: The callbacks.
    """

    def __init__(self, unsent: bytearray, handlers: StreamHandlers) -> None:
        self._loop = asyncio.get_running_loop()
        self._unsent = unsent
        self._handlers = handlers
        self._transport: Transport | None = None
        self._arrived: deque[bytes] = deque()
        self._arrived_size = 0
        self._is_handling = False
        self._is_flush_due = False
        self._is_writing = False

    @property
    def is_open(self) -> bool:
        """Whether the stream has a transport."""
        return self._transport is not None

    def use(self, transport: Transport) -> None:
        """Read from and write to an open transport from now on; the stream closes it."""
        self._transport = transport
        self._loop.add_reader(transport.fileno(), self.read)

    def close(self) -> None:
        """Close the transport. Does nothing without one."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._loop.remove_reader(transport.fileno())
            self._loop.remove_writer(transport.fileno())
            transport.close()

    def read(self) -> None:
        """Read what has arrived, for `READ_STEP` seconds; the rest follows in the next iteration of the loop.

        Reading does not wait until the messages are handled, because Mosquitto drops what the socket does not take,
        above `max_queued_messages`.
        """
        until = self._loop.time() + READ_STEP
        while (transport := self._transport) is not None and self._arrived_size < ARRIVED_LIMIT:
            try:
                data = transport.receive(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self._arrived.append(data)
            self._arrived_size += len(data)
            if not data:
                self._loop.remove_reader(transport.fileno())
                break
            if not transport.has_pending() and (len(data) < _CHUNK or self._loop.time() >= until):
                break
        if not self._is_handling:
            self._handle_arrived()

    def _handle_arrived(self) -> None:
        """Handle what was read, for `READ_STEP` seconds; the rest follows in the next iteration of the loop."""
        self._is_flush_due = True  # at the end of this step
        try:
            self._handle_step()
        finally:
            self._is_flush_due = False
        if self._unsent:
            self.flush()

    def _handle_step(self) -> None:
        until = self._loop.time() + READ_STEP
        while self._arrived and self._transport is not None:
            data = self._arrived.popleft()
            self._arrived_size -= len(data)
            self._handlers.arrived(data)
            if self._arrived and self._loop.time() >= until:
                break
        self._is_handling = bool(self._arrived) and self._transport is not None
        if self._is_handling:
            self._loop.call_soon(self._handle_arrived)
            if self._transport is not None and self._transport.has_pending():
                self._loop.call_soon(self.read)
        self._handlers.handled()

    def flush_soon(self) -> None:
        """Write once per iteration of the loop, for all bytes that were added in it."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what the socket takes; the rest follows when it has room."""
        self._is_flush_due = False
        transport, unsent = self._transport, self._unsent
        if transport is None:
            return
        try:
            if unsent:
                del unsent[: transport.send(unsent)]
            is_writing = bool(unsent) or transport.has_unsent()
        except BlockingIOError:
            is_writing = True
        except OSError:
            unsent.clear()  # reading would try to send it again
            self.read()  # the other side may have sent the reason
            self.close()
            self._handlers.write_failed()
            return
        if is_writing is not self._is_writing:
            self._is_writing = is_writing
            if is_writing:
                self._loop.add_writer(transport.fileno(), self.flush)
            else:
                self._loop.remove_writer(transport.fileno())
        if not is_writing:
            self._handlers.written()
