"""Compares two states, or two stations, by the messages that the bridge publishes for them."""

from evse_mqtt_bridge.domain.model import Station, StationState

__all__ = ["has_same_labels", "is_published_alike"]


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
    """Return whether the messages of two stations are the same; the interval, which is in no message, may differ."""
    return old is new or (old is not None and _published_part(old) == _published_part(new))


def _published_part(station: Station) -> tuple[object, ...]:
    return station.uuid, station.name, station.alias, station.plugs, station.plug_names
