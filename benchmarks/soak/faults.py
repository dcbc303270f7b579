"""What can happen to the broker, to the way there, and to the way to the cloud.

What happens to the broker is over before the picture is judged; a cloud that is away is judged while it lasts, too.
"""

import time
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.soak.world import World

__all__ = ["BROKER", "CLOUD", "Fault"]

Fault = Callable[[World, Random], Callable[[], None]]
"""Begins, and returns what ends it."""


def _nothing() -> None:
    pass


def _killed(world: World, seeded_random: Random) -> Callable[[], None]:
    world.broker.kill()
    return _later(seeded_random, 1, 8, lambda: _start(world))


def _restarted(world: World, _dice: Random) -> Callable[[], None]:
    world.broker.stop()
    return lambda: _start(world)


def _frozen(world: World, seeded_random: Random) -> Callable[[], None]:
    world.broker.freeze()
    return _later(seeded_random, 1, 14, world.broker.thaw)


def _cut(world: World, _dice: Random) -> Callable[[], None]:
    world.to_broker.cut()
    return _nothing


def _flapping(world: World, seeded_random: Random) -> Callable[[], None]:
    world.to_broker.cut(new_after=0.5)
    return _later(seeded_random, 2, 6, world.to_broker.restore)


def _swallowed(world: World, seeded_random: Random) -> Callable[[], None]:
    world.to_broker.blackhole()
    return _later(seeded_random, 1, 10, world.to_broker.restore)


def _slow(world: World, seeded_random: Random) -> Callable[[], None]:
    world.to_broker.delay(0.2)
    return _later(seeded_random, 1, 5, world.to_broker.restore)


BROKER: Mapping[str, Fault] = {
    "broker killed, its memory lost": _killed,
    "broker restarted, its memory lost": _restarted,
    "broker frozen": _frozen,
    "connection to the broker cut": _cut,
    "connections to the broker cut again and again": _flapping,
    "connection to the broker swallowed": _swallowed,
    "connection to the broker slow": _slow,
}


def _cloud_swallowed(world: World, _dice: Random) -> Callable[[], None]:
    world.to_cloud.blackhole()
    return world.to_cloud.restore


def _cloud_cut(world: World, _dice: Random) -> Callable[[], None]:
    world.to_cloud.cut(new_after=0)
    return world.to_cloud.restore


CLOUD: Mapping[str, Fault] = {
    "the cloud swallows everything": _cloud_swallowed,
    "the cloud cuts every connection": _cloud_cut,
}
"""While one of these lasts, every station is `unreachable`."""


def _start(world: World) -> None:
    world.broker.start()
    world.plant()


def _later(seeded_random: Random, shortest: float, longest: float, end: Callable[[], None]) -> Callable[[], None]:
    """`end`, after a while that is drawn now, so that it depends on the seed alone."""
    seconds = seeded_random.uniform(shortest, longest)

    def wait() -> None:
        time.sleep(seconds)
        end()

    return wait
