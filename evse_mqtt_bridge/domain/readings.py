"""The reading of one plug, as a response contains it."""

from datetime import datetime

from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["PlugReading", "same_values"]


@value_class
class PlugReading:
    """A validated plug object of a response; `None` for missing values.

    Attributes:
        plug_uuid: The vendor's uuid of the plug.
        label: The vendor's name of the plug.
        status: The vendor's status, unchanged.
        power: In W; negative while discharging.
        current_l1: In A.
        current_l2: In A.
        current_l3: In A.
        dyn_current_limit: Dynamic current limit in A.
        time: Time of the measurement, in UTC.
    """

    plug_uuid: str
    label: str | None = None
    status: str | None = None
    power: float | None = None
    current_l1: float | None = None
    current_l2: float | None = None
    current_l3: float | None = None
    dyn_current_limit: float | None = None
    time: datetime | None = None


def same_values(old: PlugReading | None, new: PlugReading | None) -> bool:
    """Return whether two readings of one plug are equal, except for their time."""
    if old is None or new is None:
        return old is new
    return (
        old.power == new.power
        and old.current_l1 == new.current_l1
        and old.current_l2 == new.current_l2
        and old.current_l3 == new.current_l3
        and old.dyn_current_limit == new.dyn_current_limit
        and old.status == new.status
        and old.label == new.label
    )
