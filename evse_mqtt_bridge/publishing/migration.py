"""The way from what was published to what is wanted, where the order matters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from evse_mqtt_bridge.publishing.manifest import Entry
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.outputs.protocol import Location

__all__ = ["Change", "Migration", "migration"]


@dataclass(frozen=True, slots=True)
class Change:
    """An entry that was published, and its successor; `None` where there is none."""

    old: Entry
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Migration:
    """The messages of a migration.

    Attributes:
        stages: published before the full republish, each stage when the one before it is acknowledged.
        last: published after the full republish.
        deferred_entries: topics of manifest entries that alone describe what `last` clears. Nothing else may be
            published there before.
    """

    stages: tuple[tuple[Message, ...], ...]
    last: tuple[Message, ...]
    deferred_entries: frozenset[str] = frozenset()


def migration(changes: Iterable[Change]) -> Migration:
    """Return the messages that leave nothing of the old entries behind, and keep entities that only change their form.

    Topics whose location hands over to a successor are cleared before the successor is published. All others are
    cleared last; or together with the topics that are handed over in stages, because the new entry of the station is
    published right after those stages and no longer describes the rest.
    """
    staged: list[tuple[tuple[Message, ...], ...]] = []
    cleared_first: list[str] = []
    cleared_last: list[str] = []
    deferred: set[str] = set()
    for change in changes:
        if change.old == change.new:
            continue
        removed = _removed_topics(change)
        early: list[str] = []
        stages: list[tuple[tuple[Message, ...], ...]] = []
        for topics, location in _handed_over(change, removed):
            handover = location.handover(topics, _successor(change, location))
            if handover is not None:
                early += topics
                stages += [handover.stages] if handover.stages else []
        cleared_first += early
        staged += stages
        rest = [topic for topic in removed if topic not in set(early)]
        if stages:
            # After these stages the entry has to record the new location, or belongs to another station.
            cleared_first += [topic for topic in rest if topic != change.old.topic]
            cleared_last += [topic for topic in rest if topic == change.old.topic]
        elif rest:
            cleared_last += rest
            deferred.add(change.old.topic)
    stages_of_all = (*_merged(staged), tuple(clear(cleared_first)))
    return Migration(tuple(stage for stage in stages_of_all if stage), tuple(clear(cleared_last)), frozenset(deferred))


def _removed_topics(change: Change) -> list[str]:
    """Return the old topics that the new entry lacks, or has for another plug: an alias may have moved."""
    after = change.new.all_topics() if change.new else {}
    return [topic for topic, plug in change.old.all_topics().items() if after.get(topic) != plug]


def _handed_over(change: Change, removed: list[str]) -> Iterator[tuple[tuple[str, ...], Location]]:
    """Yield the removed topics of each location; nothing for a station that is removed as a whole."""
    if change.new is None:
        return
    for location in change.old.locations:
        at_location = change.old.topics_at(location)
        if topics := tuple(topic for topic in removed if topic in at_location):
            yield topics, location


def _successor(change: Change, location: Location) -> Location | None:
    locations = change.new.locations if change.new else ()
    return next((other for other in locations if other.manifest_key == location.manifest_key), None)


def _merged(staged: list[tuple[tuple[Message, ...], ...]]) -> Iterator[tuple[Message, ...]]:
    """Yield the first stages of all handovers as one stage, then the second stages, and so on."""
    for stages in zip_longest(*staged, fillvalue=()):
        yield tuple(message for stage in stages for message in stage)
