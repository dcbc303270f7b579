"""Faults of the broker, of the network to the broker, and of the network to the cloud.

Most faults of the broker end before the retained topics are checked. During the others they are checked too.
"""

import time
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.soak.environment import Environment
from benchmarks.soak.model import MESSAGE_LIMIT

__all__ = ["BROKER_FAULTS", "CLOUD_FAULTS", "LIMITED_BROKER", "Fault", "nothing"]

Fault = Callable[[Environment, Random], Callable[[], None]]
"""Starts the fault and returns a function that ends it."""


_TIMED_OUT = 3.0
"""Seconds after which the bridge, whose timeout is 1 s, has given up all requests without a response."""


def nothing() -> None:
    """Do nothing, as the end of a fault that has ended by itself."""


def _killed(environment: Environment, rng: Random) -> Callable[[], None]:
    environment.broker.kill()
    return _later(rng, 1, 8, environment.start_broker)


def _restarted(environment: Environment, _rng: Random) -> Callable[[], None]:
    environment.broker.stop()
    return environment.start_broker


def _frozen(environment: Environment, rng: Random) -> Callable[[], None]:
    environment.broker.freeze()
    return _later(rng, 1, 14, environment.broker.thaw)


def _cut(environment: Environment, _rng: Random) -> Callable[[], None]:
    environment.to_broker.cut()
    return nothing


def _flapping(environment: Environment, rng: Random) -> Callable[[], None]:
    environment.to_broker.cut(new_after=0.5)
    return _later(rng, 2, 6, environment.to_broker.restore)


def _packets_lost(environment: Environment, rng: Random) -> Callable[[], None]:
    environment.to_broker.blackhole()
    return _later(rng, 1, 10, environment.to_broker.restore)


def _slow(environment: Environment, rng: Random) -> Callable[[], None]:
    environment.to_broker.delay(0.2)
    return _later(rng, 1, 5, environment.to_broker.restore)


BROKER_FAULTS: Mapping[str, Fault] = {
    "broker killed, retained topics lost": _killed,
    "broker restarted, retained topics lost": _restarted,
    "broker frozen": _frozen,
    "connection to the broker reset": _cut,
    "connections to the broker reset repeatedly": _flapping,
    "packets to the broker lost": _packets_lost,
    "connection to the broker slow": _slow,
}


def _cloud_packets_lost(environment: Environment, _rng: Random) -> Callable[[], None]:
    environment.to_cloud.blackhole()

    def end() -> None:
        environment.to_cloud.restore()
        time.sleep(_TIMED_OUT)
        environment.to_cloud.reset_dead()

    return end


def _cloud_cut(environment: Environment, _rng: Random) -> Callable[[], None]:
    environment.to_cloud.cut(new_after=0)
    return environment.to_cloud.restore


CLOUD_FAULTS: Mapping[str, Fault] = {
    "packets to the cloud lost": _cloud_packets_lost,
    "connections to the cloud reset": _cloud_cut,
}
"""During each of these, every station is `unreachable`."""


def _limited(environment: Environment, _rng: Random) -> Callable[[], None]:
    """Restart the broker, so that it rejects the largest messages; the model knows the limit."""
    environment.broker.stop()
    environment.start_broker(f"message_size_limit {MESSAGE_LIMIT}")

    def end() -> None:
        environment.broker.stop()
        environment.start_broker()

    return end


LIMITED_BROKER: Mapping[str, Fault] = {"broker that rejects large messages": _limited}
"""Not together with a fault of the broker; it lasts through the check."""


def _later(rng: Random, shortest: float, longest: float, end: Callable[[], None]) -> Callable[[], None]:
    """Return a function that waits and calls `end`; the wait is chosen now, so that it depends only on the seed."""
    seconds = rng.uniform(shortest, longest)

    def wait() -> None:
        time.sleep(seconds)
        end()

    return wait
