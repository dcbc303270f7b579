"""The event loop that the bridge runs on."""

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["run_loop"]


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run `main` to its end, on uvloop where it is installed: it takes less CPU, and changes nothing else."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not there on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
