"""Plans the stages that lead from previous manifest entries to the present ones, in an order that loses no entity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from evse_mqtt_bridge.publishing.manifest import Entry, obsolete_topics
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.outputs.protocol import Location, Stages
from evse_mqtt_bridge.publishing.previous_entries import PreviousEntries

__all__ = ["Migration", "Successor", "plan_migration"]

Successor = Callable[[Entry], Entry | None]
"""Returns the present entry of the station, or of the bridge, that an entry belongs to; `None` if it was removed."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The part of a migration that precedes the full republish.

    Attributes:
        stages: Published one by one, each stage when the previous one is acknowledged.
        remaining: The previous entries that have topics to clear after the stages.
    """

    stages: Stages
    remaining: PreviousEntries


def plan_migration(
    previous: PreviousEntries,
    successor: Successor,
    has_room: Callable[[str], bool],
    claimed: Callable[[Entry], frozenset[str]] = lambda _: frozenset(),
    *,
    may_clear: bool = True,
) -> Migration:
    """Return the stages that clear the locations that remaining stations and the bridge leave.

    Entities keep their history if they change only their form. All topics that no stage clears are cleared after the
    full republish. Exception: if an `info` has no room for all its previous entries, everything is cleared in the
    stages, so that the number of entries is bounded.

    Args:
        previous: The previous entries.
        successor: See `Successor`.
        has_room: Returns whether the `info` of a station on this topic can list all its previous entries.
        claimed: Returns the topics of an entry's station that other bridges claim, which stay as they are.
        may_clear: Whether topics may be cleared now; otherwise, all entries remain and there are no stages.
    """
    crowded = {topic for topic in previous.station_topics if may_clear and not has_room(topic)}
    staged: list[Stages] = []
    cleared: dict[str, None] = {}
    remaining = PreviousEntries()
    for entry in previous:
        new = successor(entry)
        kept = list(entry.locations)
        claims = claimed(entry)
        for location, moved in _moved(entry, new if may_clear else None):
            topics = tuple(topic for topic in moved if topic not in claims)
            handover = location.handover(topics, _successor(location, new))
            if handover is not None:
                kept.remove(location)
                staged.append(handover.stages)
                cleared.update(dict.fromkeys(topics))
        if entry.topic in crowded:
            obsolete = (topic for topic in obsolete_topics(entry, new) if topic not in {entry.topic, *claims})
            cleared.update(dict.fromkeys(obsolete))
            continue
        rest = replace(entry, locations=tuple(kept))
        if new is None or not new.covers(rest):
            remaining.add(rest)
    for held in previous.held:
        remaining.add(held)
    remaining.hold({held.topics for held in previous.held})
    stages = (*_merged(staged), tuple(clear(cleared)))
    return Migration(tuple(stage for stage in stages if stage), remaining)


def _moved(entry: Entry, new: Entry | None) -> Iterator[tuple[Location, tuple[str, ...]]]:
    """Yield the locations that the present entry lacks, with the topics that it lacks; none of a removed station."""
    if new is None:
        return
    for location in entry.locations:
        if location not in new.locations:
            successor = _successor(location, new)
            present = new.topics_at(successor) if successor else {}
            yield location, tuple(topic for topic in entry.topics_at(location) if topic not in present)


def _successor(location: Location, new: Entry | None) -> Location | None:
    locations = new.locations if new else ()
    return next((other for other in locations if other.manifest_key == location.manifest_key), None)


def _merged(staged: list[Stages]) -> Iterator[tuple[Message, ...]]:
    """Yield the first stages of all handovers as one stage, then the second stages, and so on, each topic once."""
    for stages in zip_longest(*staged, fillvalue=()):
        yield tuple({message.topic: message for stage in stages for message in stage}.values())
