"""Plans the messages that lead from the published topics to those of a new plan, in an order that loses nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from evse_mqtt_bridge.publishing.manifest import Entry
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.outputs.protocol import Location, Stages

__all__ = ["EntryChange", "Migration", "plan_migration"]


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A published manifest entry and its successor; `None` if it has no successor."""

    old: Entry
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Migration:
    """The messages of a migration.

    Attributes:
        stages: Published before the full republish, each stage after the previous one is acknowledged.
        last: Published after the full republish, or earlier, during the stages of a migration that follows.
        deferred_entry_topics: Topics of manifest entries that are the only record of the topics that `last` clears.
            They must not be overwritten before that.
    """

    stages: Stages
    last: tuple[Message, ...]
    deferred_entry_topics: frozenset[str] = frozenset()


def plan_migration(changes: Iterable[EntryChange]) -> Migration:
    """Return the messages that clear all topics of the old entries, and keep entities whose form alone changes.

    Topics whose location hands over to a successor are cleared before the successor is published. All others are
    cleared last. Exception: if a station has stages, all its topics are cleared with them, because its new entry is
    published right after the stages and no longer lists the rest.
    """
    staged: list[Stages] = []
    cleared_first: list[str] = []
    cleared_last: list[str] = []
    deferred: set[str] = set()
    for change in changes:
        if change.old == change.new:
            continue
        removed = _removed_topics(change)
        early: list[str] = []
        stages: list[Stages] = []
        for topics, location in _handed_over(change, removed):
            handover = location.handover(topics, _successor(change, location))
            if handover is not None:
                early += topics
                stages += [handover.stages] if handover.stages else []
        cleared_first += early
        staged += stages
        rest = [topic for topic in removed if topic not in set(early)]
        if stages:
            # The new entry follows right after the stages, so no entry lists the rest any more: clear it with them.
            # Only the topic of the old entry itself is cleared last, unless another station publishes its entry there.
            cleared_first += [topic for topic in rest if topic != change.old.topic]
            cleared_last += [topic for topic in rest if topic == change.old.topic]
        elif rest:
            cleared_last += rest
            deferred.add(change.old.topic)
    stages_of_all = (*_merged(staged), tuple(clear(cleared_first)))
    return Migration(tuple(stage for stage in stages_of_all if stage), tuple(clear(cleared_last)), frozenset(deferred))


def _removed_topics(change: EntryChange) -> list[str]:
    """Return the old topics that the new entry lacks, or assigns to another plug after an alias moved."""
    after = change.new.all_topics() if change.new else {}
    return [topic for topic, plug in change.old.all_topics().items() if after.get(topic) != plug]


def _handed_over(change: EntryChange, removed: list[str]) -> Iterator[tuple[tuple[str, ...], Location]]:
    """Yield the removed topics of each location; nothing if the whole station is removed."""
    if change.new is None:
        return
    for location in change.old.locations:
        at_location = change.old.topics_at(location)
        if topics := tuple(topic for topic in removed if topic in at_location):
            yield topics, location


def _successor(change: EntryChange, location: Location) -> Location | None:
    locations = change.new.locations if change.new else ()
    return next((other for other in locations if other.manifest_key == location.manifest_key), None)


def _merged(staged: list[Stages]) -> Iterator[tuple[Message, ...]]:
    """Yield the first stages of all handovers as one stage, then the second stages, and so on."""
    for stages in zip_longest(*staged, fillvalue=()):
        yield tuple(message for stage in stages for message in stage)
