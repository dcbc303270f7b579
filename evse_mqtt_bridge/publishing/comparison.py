"""Whether two states, or two stations, differ in what is published of them."""

from evse_mqtt_bridge.domain.model import Station, StationState

__all__ = ["has_changes", "has_same_labels", "is_published_alike"]


def has_changes(old: StationState, new: StationState) -> bool:
    """Return whether a broker that shows `old` lacks anything of `new`. For most polls it does not.

    `new` is derived from `old` by `advance` or `age`, directly or by way of others: both move `last_published_at` on
    wherever a value changes.
    """
    if new.reason is not old.reason or len(new.plugs) != len(old.plugs):
        return True
    for uuid, plug in new.plugs.items():  # a loop, because it runs for each poll
        before = old.plugs.get(uuid)
        if before is None or plug.last_published_at != before.last_published_at or plug.reason is not before.reason:
            return True
    return False


def has_same_labels(old: StationState, new: StationState) -> bool:
    """Return whether two states of a station have the same plugs with the same labels."""
    if len(old.plugs) != len(new.plugs):
        return False
    for uuid, plug in new.plugs.items():  # a loop, because it runs for each change
        before = old.plugs.get(uuid)
        if before is None or before.label != plug.label:
            return False
    return True


def is_published_alike(old: Station | None, new: Station) -> bool:
    """Return whether the messages of two stations are the same: they may differ in their interval alone."""
    return old is new or (old is not None and _published_part(old) == _published_part(new))


def _published_part(station: Station) -> tuple[object, ...]:
    return station.uuid, station.name, station.alias, station.plugs
