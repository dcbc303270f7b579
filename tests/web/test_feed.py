"""Frames of the event stream, on virtual time."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from evse_mqtt_bridge.observability.snapshot import StationSnapshot
from evse_mqtt_bridge.web.feed import FRAME_INTERVAL, Feed, Frame, render_stations
from tests.web.served_bridge import StubBridge, reading, station

pytestmark = pytest.mark.asyncio(loop_factories=["virtual_time"])


def _feed(bridge: StubBridge) -> Feed:
    return Feed(bridge, asyncio.get_running_loop().time)


async def _next(feed: Feed, previous: Frame | None = None) -> Frame:
    frame = await feed.next(previous)
    assert frame is not None
    return frame


def _decode(frame: Frame) -> tuple[str, list[str]]:
    """Return the event name and the names of the stations."""
    event, data = frame.payload.decode().strip().removeprefix("retry: 2000\n").split("\n")
    snapshot: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return event.removeprefix("event: "), [each["name"] for each in snapshot["stations"]]


async def test_feed_sends_full_snapshot_then_changes() -> None:
    bridge = StubBridge([station(1), station(2)])
    feed = _feed(bridge)
    first = await _next(feed)
    assert _decode(first) == ("picture", ["Station 1", "Station 2"])
    bridge.poll(station(2).uuid, reading())
    second = await _next(feed, first)
    assert _decode(second) == ("change", ["Station 2"])
    assert _decode(await _next(feed, second)) == ("change", [])


async def test_feed_returns_one_frame_per_interval() -> None:
    feed = _feed(StubBridge([station()]))
    frame = await _next(feed)
    times = []
    for _ in range(5):
        frame = await _next(feed, frame)
        times.append(feed.now())
    assert times == [times[0] + FRAME_INTERVAL * number for number in range(5)]


async def test_feed_shares_frames_between_viewers() -> None:
    bridge = StubBridge([station(number) for number in range(1, 4)])
    feed = _feed(bridge)
    bridge.poll_all()
    early = await _next(feed)
    bridge.poll(station(1).uuid, reading())
    late = await _next(feed)
    assert late is early, "same interval"
    early = await _next(feed, early)
    bridge.poll(station(2).uuid, reading())
    late = await _next(feed)
    assert late is not early
    bridge.poll(station(3).uuid, reading())
    one, other = await asyncio.gather(_next(feed, early), _next(feed, late))
    assert one is other
    assert set(_decode(one)[1]) == {"Station 2", "Station 3"}


async def test_feed_sends_slow_viewer_all_changes_at_once() -> None:
    bridge = StubBridge([station(number) for number in range(1, 4)])
    feed = _feed(bridge)
    bridge.poll_all()
    slow = fast = await _next(feed)
    for number in (1, 2):
        bridge.poll(station(number).uuid, reading())
        fast = await _next(feed, fast)
    before = feed.now()
    assert _decode(await _next(feed, slow)) == ("change", ["Station 1", "Station 2"])
    assert feed.now() == before


async def test_feed_after_reload_sends_full_snapshot() -> None:
    bridge = StubBridge([station(1), station(2)])
    feed = _feed(bridge)
    bridge.poll_all()
    frame = await _next(feed)
    bridge.reload([station(2, name="Renamed"), station(3)])
    frame = await _next(feed, frame)
    assert _decode(frame) == ("picture", ["Renamed", "Station 3"])
    assert _decode(await _next(feed, frame)) == ("change", [])


async def test_feed_after_the_clock_was_set_sends_full_snapshot() -> None:
    bridge = StubBridge([station(1), station(2)])
    feed = _feed(bridge)
    first = await _next(feed)
    bridge.set_clock(timedelta(hours=1))
    second = await _next(feed, first)
    assert _decode(second) == ("picture", ["Station 1", "Station 2"])
    assert _decode(await _next(feed, second)) == ("change", [])


async def test_feed_reloaded_during_render_sends_full_snapshot() -> None:
    bridge = StubBridge([station(1), station(2)])
    feed = _feed(bridge)
    stations = bridge.stations

    def reload_meanwhile(after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
        for each in stations(after, steps=steps):
            yield each
            bridge.reload([station(2)])

    bridge.stations = reload_meanwhile  # type: ignore[method-assign]
    frame = await _next(feed)
    bridge.stations = stations  # type: ignore[method-assign]
    assert _decode(await _next(feed, frame)) == ("picture", ["Station 2"])


async def test_feed_reloaded_before_render_sends_full_snapshot() -> None:
    bridge = StubBridge([station(1), station(2)])
    feed = _feed(bridge)
    pending = asyncio.create_task(_next(feed))
    await asyncio.sleep(0)  # the frame is requested, but its rendering has not started
    bridge.reload([station(1)])
    assert _decode(await _next(feed, await pending)) == ("picture", ["Station 1"])


async def test_feed_without_viewers_does_nothing() -> None:
    bridge = StubBridge([station()])
    feed = _feed(bridge)
    await _next(feed, await _next(feed))
    feed.reset()
    calls = bridge.summary_calls
    await asyncio.sleep(100 * FRAME_INTERVAL)
    assert bridge.summary_calls == calls
    assert feed.is_idle


async def test_feed_viewer_cancelled_keeps_frame_for_others() -> None:
    feed = _feed(StubBridge([station()]))
    leaving, staying = asyncio.create_task(_next(feed)), asyncio.create_task(_next(feed))
    await asyncio.sleep(0)
    leaving.cancel()
    assert _decode(await staying)[0] == "picture"


async def test_feed_close_ends_waiting_viewers_at_once() -> None:
    feed = _feed(StubBridge([station()]))
    previous = await _next(feed)
    waiting = asyncio.create_task(feed.next(previous))
    await asyncio.sleep(0)
    closed_at = feed.now()
    feed.close()
    assert await waiting is None
    assert await feed.next(None) is None
    assert feed.now() == closed_at

    other = _feed(StubBridge([station(number) for number in range(1, 100)]))
    rendering = asyncio.create_task(other.next(None))
    await asyncio.sleep(0)
    other.close()
    assert await rendering is None


async def test_render_stations_yields_to_other_tasks() -> None:
    bridge = StubBridge([station(number) for number in range(1, 101)])
    milliseconds = iter(range(10_000))
    wakeups = 0

    async def other() -> None:
        nonlocal wakeups
        while True:
            await asyncio.sleep(0)
            wakeups += 1

    task = asyncio.create_task(other())
    rendered = await render_stations(bridge.stations(), lambda: next(milliseconds) / 1000)
    task.cancel()
    assert len(rendered) == 100
    assert wakeups >= 8
