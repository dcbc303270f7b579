"""Plans a reload: which components of the running bridge a changed configuration affects, and in which order.

A reload prepares the steps that can fail, stops components that cannot continue, reconfigures, and starts the stopped
components again:

    prepare -> stop -> reconfigure -> start

Results flow from polling to publishing. So polling stops before publishing, and starts after it. The web server only
shows the state of the others, and comes last.

The `reconfigure` steps between the last stop and the first start never return control to the event loop. So no poll
completes, and no message arrives, while one component has the new configuration and another one has the old.

The rules are the table below. Each of its rows applies if one of its sections of the configuration changed.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from evse_mqtt_bridge.config.schema import Config

__all__ = ["Action", "ComponentName", "ReloadPlan", "Step"]


class ComponentName(Enum):
    """The components that a reload can affect."""

    LOGGING = "logging"
    POLLING = "polling"
    PUBLISHING = "publishing"
    MEMBERSHIP = "membership"
    RECORDING = "recording"
    HISTORY_READER = "history reader"
    WEB_SERVER = "web server"


class Action(Enum):
    """The method of `Component` that a step calls. Only `PREPARE` may reject the configuration."""

    PREPARE = "prepare"
    STOP = "stop"
    RECONFIGURE = "reconfigure"
    START = "start"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a reload.

    Attributes:
        action: The method to call.
        component: The component to call it on.
        sections: The sections of the configuration; the step is needed if one of them changed.
        reason: Why the step has its place in the order.
    """

    action: Action
    component: ComponentName
    sections: frozenset[str]
    reason: str

    def __str__(self) -> str:
        return f"{self.action.value} {self.component.value}"


_MEMBERSHIP = frozenset({"mqtt", "cloud", "fleet", "polling", "homeassistant", "http", "stations"})
"""The sections whose change concerns the shards of this process, or the record of the member."""

_STEPS = (
    Step(
        Action.PREPARE,
        ComponentName.PUBLISHING,
        frozenset({"mqtt"}),
        "An unusable certificate rejects the new configuration while everything still runs.",
    ),
    Step(
        Action.PREPARE,
        ComponentName.MEMBERSHIP,
        frozenset({"fleet", "mqtt"}),
        "A change that requires a restart rejects the new configuration while everything still runs.",
    ),
    Step(
        Action.PREPARE,
        ComponentName.POLLING,
        frozenset({"cloud"}),
        "The new client is opened while everything still runs, and last, so that no later failure leaves it open.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.LOGGING,
        frozenset({"log"}),
        "The log lines about this reload already have the new level and format.",
    ),
    Step(
        Action.STOP,
        ComponentName.MEMBERSHIP,
        _MEMBERSHIP,
        "No shard begins or ends while the shards change.",
    ),
    Step(
        Action.STOP,
        ComponentName.POLLING,
        frozenset({"cloud"}),
        "No request is under way when its client is closed.",
    ),
    Step(
        Action.STOP,
        ComponentName.PUBLISHING,
        frozenset({"mqtt"}),
        "The bridge publishes `offline` to the old broker on the old topics, so before the topics change.",
    ),
    Step(
        Action.STOP,
        ComponentName.WEB_SERVER,
        frozenset({"http"}),
        "The old port is free before the new server listens, perhaps on the same port of another address.",
    ),
    Step(
        Action.STOP,
        ComponentName.RECORDING,
        frozenset({"history"}),
        "What was counted so far is written to the old database.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.RECORDING,
        frozenset({"history"}),
        "The recorder has no writer meanwhile.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.HISTORY_READER,
        frozenset({"history"}),
        "The page reads from the database that is written.",
    ),
    Step(
        Action.START,
        ComponentName.RECORDING,
        frozenset({"history"}),
        "The next poll is recorded in the new database.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.MEMBERSHIP,
        _MEMBERSHIP,
        "Topics are cleared only when all members have the new configuration.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.PUBLISHING,
        frozenset({"mqtt", "fleet", "polling", "homeassistant", "http", "stations"}),
        "The publication has a new station before its first poll.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.POLLING,
        frozenset({"cloud", "fleet", "polling", "stations"}),
        "The poller drops removed stations before another poll completes.",
    ),
    Step(
        Action.RECONFIGURE,
        ComponentName.WEB_SERVER,
        frozenset({"http"}),
        "The page shows the state of the other components, so it follows them.",
    ),
    Step(
        Action.START,
        ComponentName.PUBLISHING,
        frozenset({"mqtt"}),
        "The sessions connect to the broker before new results arrive.",
    ),
    Step(
        Action.START,
        ComponentName.POLLING,
        frozenset({"cloud"}),
        "The session accepts results at this point.",
    ),
    Step(
        Action.START,
        ComponentName.MEMBERSHIP,
        _MEMBERSHIP,
        "Shards may begin and end again.",
    ),
    Step(
        Action.START,
        ComponentName.WEB_SERVER,
        frozenset({"http"}),
        "Nothing depends on the page, so a port in use delays no other component.",
    ),
)


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """The steps of a reload.

    Attributes:
        steps: In the order in which they are carried out; none if nothing changed.
        added: Uuids of the stations that were not configured before.
        removed: Uuids of the stations that are no longer configured.
        changed: Uuids of the other stations with other settings.
    """

    steps: tuple[Step, ...]
    added: frozenset[str]
    removed: frozenset[str]
    changed: frozenset[str]

    @classmethod
    def between(cls, old: Config, new: Config, renewed: frozenset[str] = frozenset()) -> Self:
        """Return the plan for the change from one configuration to another.

        Args:
            old: The configuration in use.
            new: The configuration to change to.
            renewed: The sections that name a file with another content, under the same name.
        """
        changed = renewed.union(name for name in Config.model_fields if getattr(old, name) != getattr(new, name))
        left_out = frozenset() if old.fleet or new.fleet else frozenset({ComponentName.MEMBERSHIP})
        steps = tuple(step for step in _STEPS if step.sections & changed and step.component not in left_out)
        before = {entry.uuid: entry for entry in old.stations}
        after = {entry.uuid: entry for entry in new.stations}
        return cls(
            steps,
            added=frozenset(after.keys() - before.keys()),
            removed=frozenset(before.keys() - after.keys()),
            changed=frozenset(uuid for uuid in before.keys() & after.keys() if before[uuid] != after[uuid]),
        )
