"""Event stream frames for the viewers of the status page: first a full snapshot, then every two seconds the changes.

The connection of a viewer requests a frame when it has sent the previous one, and passes that frame. A slow viewer
therefore skips frames and receives all changes since its last frame in one, so nothing queues up. Viewers with the same
previous revision share one frame, which is rendered once per interval. Without viewers the feed does nothing.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from evse_mqtt_bridge.observability.snapshot import StationSnapshot, snapshot_json, station_json
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.support.tasks import shared_result
from evse_mqtt_bridge.web.source import SnapshotSource

__all__ = ["FRAME_INTERVAL", "Feed", "Frame", "render_stations"]

FRAME_INTERVAL = 2.0
"""Seconds between two frames."""

_RENDER_SLICE = 0.01
"""Seconds of rendering after which other tasks of the event loop run first."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event.

    Attributes:
        payload: The event as sent.
        plan: The plan that the stations belong to.
        revision: The highest revision of the history that the viewer has after this frame.
        interval: Number of the interval that the frame was rendered in.
        started: The start time of the bridge; another one after the clock of the machine was set.
    """

    payload: bytes = field(repr=False)
    plan: Plan = field(repr=False)
    revision: int
    interval: int
    started: datetime | None


async def render_stations(stations: Iterable[StationSnapshot], now: Callable[[], float]) -> list[bytes]:
    """Return the JSON of each station, yielding to the event loop every 10 ms; `now` is its monotonic time."""
    rendered = []
    slice_end = now() + _RENDER_SLICE
    for station in stations:
        rendered.append(station_json(station))
        if now() >= slice_end:
            await asyncio.sleep(0)
            slice_end = now() + _RENDER_SLICE
    return rendered


@dataclass(slots=True)
class Feed:
    """Renders frames for all viewers; `now` is the monotonic time of the event loop."""

    source: SnapshotSource
    now: Callable[[], float]
    _interval: int = -1
    _plan: Plan | None = None
    _revision: int = -1
    _started: datetime | None = None
    _frames: dict[int, asyncio.Task[Frame]] = field(default_factory=dict)  # by the revision before
    _closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, previous: Frame | None) -> Frame | None:
        """Return the frame that follows `previous`, in the next interval; without `previous`, the first one at once.

        Returns `None` when the feed is closed.
        """
        if previous is not None:
            with contextlib.suppress(TimeoutError):
                due = (previous.interval + 1) * FRAME_INTERVAL
                await asyncio.wait_for(self._closed.wait(), max(0.0, due - self.now()))
        if self._closed.is_set():
            return None
        plan = self._enter_interval()
        after = previous.revision if previous is not None and self._continues(previous, plan) else -1
        rendering = self._frames.get(after)
        if rendering is None:
            rendering = asyncio.create_task(self._render(after, plan, self._interval), name="frame")
            self._frames[after] = rendering
        try:
            return await shared_result(rendering)  # other viewers may wait for the same frame
        except asyncio.CancelledError:
            if self._closed.is_set():
                return None
            raise

    @property
    def is_idle(self) -> bool:
        """Whether the feed holds no frame."""
        return not self._frames

    def reset(self) -> None:
        """Drop the frames of this interval, because there are no viewers."""
        for rendering in self._frames.values():
            rendering.cancel()
        self._frames = {}
        self._interval = -1

    def close(self) -> None:
        """Return `None` to all viewers that wait for a frame."""
        self._closed.set()
        self.reset()

    def _continues(self, previous: Frame, plan: Plan) -> bool:
        """Return whether a viewer of a frame needs only what changed since: neither stations nor the clock did."""
        return previous.plan is plan and previous.started == self._started

    def _enter_interval(self) -> Plan:
        interval, plan = int(self.now() // FRAME_INTERVAL), self.source.plan
        if interval != self._interval or plan is not self._plan:
            self._interval, self._plan = interval, plan
            # All frames of an interval end at the same revision, so that viewers that joined at different times share
            # frames from then on. Stations polled after that revision are part of the next frame again.
            summary = self.source.summary()
            self._revision, self._started = summary.revision, summary.bridge.started
            self._frames = {}
        return plan

    async def _render(self, after: int, plan: Plan, interval: int) -> Frame:
        """Return a full snapshot (event `picture`) or the stations polled after revision `after` (event `change`).

        `plan` is the plan at the time of the request. If it is replaced meanwhile, the next frame is a full snapshot.
        """
        revision, started, is_full = self._revision, self._started, after < 0
        stations = await render_stations(self.source.stations(after, steps=is_full), self.now)
        snapshot = snapshot_json(replace(self.source.summary(), revision=revision), stations)
        head = b"retry: 2000\nevent: picture\ndata: " if is_full else b"event: change\ndata: "
        return Frame(b"".join((head, snapshot, b"\n\n")), plan, revision, interval, started)
