"""Restarts of the bridge, with the cloud or the configuration in a difficult state; each leaves a new process."""

import time
from collections.abc import Callable, Mapping
from random import Random

from benchmarks.soak.changes import CHANGES
from benchmarks.soak.environment import Environment
from benchmarks.soak.model import Model, restarted

__all__ = ["RESTARTS"]

Restart = Callable[[Environment, Random, Model], Model]
"""Restarts the bridge, and returns the model with its last configuration."""

_STALE_AFTER = 3
_PATIENCE = 60.0


def _rate_limited(environment: Environment, _rng: Random, model: Model) -> Model:
    """Restart while the cloud asks for an hour's pause: no plug may stay online with the values of the run before."""
    environment.stop_bridge()
    environment.cloud.limit(retry_after=3600)
    environment.start_bridge(model, stale_after=_STALE_AFTER)
    environment.bridge.wait_for_line("connected to the broker")
    environment.wait_for_retained(_no_plug_is_online, "no plug is online", _PATIENCE)
    environment.cloud.limit(retry_after=None)
    environment.stop_bridge()
    environment.start_bridge(model)
    return restarted(model)


def _no_plug_is_online(retained: Mapping[str, str]) -> bool:
    plugs = (topic.removesuffix("/state") for topic in retained if topic.endswith("/state"))
    return all(retained.get(f"{plug}/availability") == "offline" for plug in plugs)


def _interrupted(kind: str) -> Restart:
    """Return a restart that changes aliases twice and interrupts each change soon after it began.

    Args:
        kind: "killed", "terminated" or "disconnected"; only the first two end the process.
    """

    def interrupt(environment: Environment, rng: Random, model: Model) -> Model:
        for _ in range(2):
            model = CHANGES["other aliases"](rng, CHANGES["other plug aliases"](rng, model))
            environment.set_answers(model, {})
            environment.reload(model)
            time.sleep(rng.uniform(0.15, 0.35))
            if kind == "disconnected":
                environment.to_broker.cut()
                continue
            environment.stop_bridge(kill=kind == "killed")
            environment.start_bridge(model)
            model = restarted(model)
            environment.bridge.wait_for_line("connected to the broker")
            time.sleep(rng.uniform(0, 0.35))
        return model

    return interrupt


RESTARTS: Mapping[str, Restart] = {
    "restart while rate limited": _rate_limited,
    "two changes of aliases, each killed": _interrupted("killed"),
    "two changes of aliases, each terminated": _interrupted("terminated"),
    "two changes of aliases, each disconnected": _interrupted("disconnected"),
}
