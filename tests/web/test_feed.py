"""What viewers are told, on time that does not pass by itself."""

import asyncio
import json
from typing import Any

from evse_mqtt_bridge.web.feed import TURN, Feed, Frame, write_slices
from tests.harness import virtual_time
from tests.web.running_page import Scene, reading, station


def _feed(scene: Scene) -> Feed:
    return Feed(scene, asyncio.get_running_loop().time)


async def _next(feed: Feed, seen: Frame | None = None) -> Frame:
    frame = await feed.next(seen)
    assert frame is not None
    return frame


def _told(frame: Frame) -> tuple[str, list[str]]:
    """The event, and the stations in it."""
    event, data = frame.text.decode().strip().removeprefix("retry: 2000\n").split("\n")
    picture: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return event.removeprefix("event: "), [each["name"] for each in picture["stations"]]


def test_first_all_of_it_then_what_changed() -> None:
    async def test() -> None:
        scene = Scene([station(1), station(2)])
        feed = _feed(scene)
        first = await _next(feed)
        assert _told(first) == ("picture", ["Station 1", "Station 2"])
        scene.poll(station(2).uuid, reading())
        second = await _next(feed, first)
        assert _told(second) == ("change", ["Station 2"])
        assert _told(await _next(feed, second)) == ("change", [])

    virtual_time.run(test())


def test_a_frame_a_turn() -> None:
    async def test() -> None:
        feed = _feed(Scene([station()]))
        frame = await _next(feed)
        times = []
        for _ in range(5):
            frame = await _next(feed, frame)
            times.append(feed.now())
        assert times == [times[0] + TURN * turn for turn in range(5)]

    virtual_time.run(test())


def test_those_who_have_seen_the_same_share_a_frame_and_those_who_join_fall_in_step() -> None:
    async def test() -> None:
        scene = Scene([station(number) for number in range(1, 4)])
        feed = _feed(scene)
        scene.poll_all()
        early = await _next(feed)
        scene.poll(station(1).uuid, reading())
        late = await _next(feed)
        assert late is early, "of one turn"
        early = await _next(feed, early)
        scene.poll(station(2).uuid, reading())
        late = await _next(feed)
        assert late is not early
        scene.poll(station(3).uuid, reading())
        one, other = await asyncio.gather(_next(feed, early), _next(feed, late))
        assert one is other
        assert set(_told(one)[1]) == {"Station 2", "Station 3"}

    virtual_time.run(test())


def test_who_was_slow_gets_what_changed_meanwhile_at_once() -> None:
    async def test() -> None:
        scene = Scene([station(number) for number in range(1, 4)])
        feed = _feed(scene)
        scene.poll_all()
        slow = quick = await _next(feed)
        for number in (1, 2):
            scene.poll(station(number).uuid, reading())
            quick = await _next(feed, quick)
        before = feed.now()
        assert _told(await _next(feed, slow)) == ("change", ["Station 1", "Station 2"])
        assert feed.now() == before

    virtual_time.run(test())


def test_after_a_reload_all_of_it_again() -> None:
    async def test() -> None:
        scene = Scene([station(1), station(2)])
        feed = _feed(scene)
        scene.poll_all()
        frame = await _next(feed)
        scene.reload([station(2, name="Renamed"), station(3)])
        frame = await _next(feed, frame)
        assert _told(frame) == ("picture", ["Renamed", "Station 3"])
        assert _told(await _next(feed, frame)) == ("change", [])

    virtual_time.run(test())


def test_a_reload_while_a_frame_is_written_is_told_in_the_next() -> None:
    async def test() -> None:
        scene = Scene([station(1), station(2)])
        feed = _feed(scene)
        stations = scene.stations

        def interrupted(after: int = -1, *, steps: bool = True) -> Any:  # noqa: ANN401  # as the scene's
            for each in stations(after, steps=steps):
                yield each
                scene.reload([station(2)])

        scene.stations = interrupted  # type: ignore[method-assign]
        frame = await _next(feed)
        scene.stations = stations  # type: ignore[method-assign]
        assert _told(await _next(feed, frame)) == ("picture", ["Station 2"])

    virtual_time.run(test())


def test_a_reload_before_a_frame_is_begun_is_told_in_the_next() -> None:
    async def test() -> None:
        scene = Scene([station(1), station(2)])
        feed = _feed(scene)
        asking = asyncio.create_task(_next(feed))
        await asyncio.sleep(0)  # it has asked for its frame, which nobody has begun
        scene.reload([station(1)])
        assert _told(await _next(feed, await asking)) == ("picture", ["Station 1"])

    virtual_time.run(test())


def test_nothing_is_done_while_nobody_looks() -> None:
    async def test() -> None:
        scene = Scene([station()])
        feed = _feed(scene)
        await _next(feed, await _next(feed))
        feed.forget()
        looks = scene.looks
        await asyncio.sleep(100 * TURN)
        assert scene.looks == looks
        assert not feed._frames

    virtual_time.run(test())


def test_who_goes_takes_no_frame_from_others() -> None:
    async def test() -> None:
        feed = _feed(Scene([station()]))
        going, staying = asyncio.create_task(_next(feed)), asyncio.create_task(_next(feed))
        await asyncio.sleep(0)
        going.cancel()
        assert _told(await staying)[0] == "picture"

    virtual_time.run(test())


def test_the_end_is_told_at_once_to_who_waits_and_to_who_is_being_written_for() -> None:
    async def test() -> None:
        feed = _feed(Scene([station()]))
        seen = await _next(feed)
        waiting = asyncio.create_task(feed.next(seen))
        await asyncio.sleep(0)
        began = feed.now()
        feed.end()
        assert await waiting is None
        assert await feed.next(None) is None
        assert feed.now() == began

        other = _feed(Scene([station(number) for number in range(1, 100)]))
        written = asyncio.create_task(other.next(None))
        await asyncio.sleep(0)
        other.end()
        assert await written is None

    virtual_time.run(test())


def test_writing_many_stations_lets_everything_else_go_first() -> None:
    async def test() -> None:
        scene = Scene([station(number) for number in range(1, 101)])
        ticks = iter(range(10_000))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(other())
        written = await write_slices(scene.stations(), lambda: next(ticks) / 1000)  # a millisecond each
        task.cancel()
        assert len(written) == 100
        assert turns >= 8

    virtual_time.run(test())
