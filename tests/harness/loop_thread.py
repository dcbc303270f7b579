"""Runs an event loop in a thread of its own, for the servers of tests and benchmarks."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")

_STEPS_OF_A_CONNECTION = 5
"""Iterations of the loop from accepting a connection until its handler has begun."""


class LoopThread:
    """An event loop in a daemon thread, from `start()` to `stop()`.

    Attributes:
        loop: The event loop; `call` creates tasks and servers in it.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_task_factory(self._create_task)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = 15) -> T:
        """Run a coroutine in the thread and return its result.

        Args:
            coroutine: The coroutine to run.
            timeout: Seconds to wait for the result.

        Raises:
            TimeoutError: The result did not arrive in time.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def stop(self, server: asyncio.Server | None = None) -> None:
        """Close a server if there is one, end all tasks and connections, end the thread and close the loop."""
        self.loop.set_exception_handler(lambda *_: None)  # Python 3.11 reports the handlers that are cancelled
        self.call(self.close(server))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def close(self, server: asyncio.Server | None = None) -> None:
        """Close a server if there is one, cancel all other tasks of the loop and reset all connections.

        asyncio loses the socket of a connection that it accepted just before the server was closed, or whose handler
        was cancelled before its first step. So the server stops accepting, the handlers begin, and then all end.
        """
        for listening in server.sockets if server else ():
            self.loop.remove_reader(listening.fileno())
        for _ in range(_STEPS_OF_A_CONNECTION):
            await asyncio.sleep(0)
        if server is not None:
            server.close()
        own = asyncio.current_task()
        # without those that are done: since Python 3.12, gather() may return before the loop discards them
        while tasks := [task for task in self._tasks if task is not own and not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # a private attribute, because Server.abort_clients() needs Python 3.13
        for transport in list(vars(self.loop)["_transports"].values()):
            # A transport that wrote its last bytes after close() has no loop left, and abort() would fail.
            if getattr(transport, "_loop", None) is not None:
                transport.abort()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next iteration

    def _create_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,  # noqa: ANN401  # depends on the version of Python
    ) -> asyncio.Future[T]:
        """Create a task that lives until its end; asyncio holds only weak references to a task that waits forever."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
