"""Evaluates the plugs of a station at one moment: their availability, their meters, and whether they are published.

It runs for each plug of each poll, so it creates one object per plug, and its arguments are positional.
"""

import math

from evse_mqtt_bridge.domain.energy import longest_first_span
from evse_mqtt_bridge.domain.heartbeat import next_heartbeat
from evse_mqtt_bridge.domain.meter import published_meter
from evse_mqtt_bridge.domain.metering import has_energy_step, is_unpublished, metered
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason
from evse_mqtt_bridge.domain.reasons import ONLINE
from evse_mqtt_bridge.domain.rules import FUTURE_TOLERANCE, Moment, Rules
from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["Evaluation", "next_staleness"]

_FUTURE_SECONDS = FUTURE_TOLERANCE.total_seconds()


@value_class
class Evaluation:
    """What the evaluation of every plug of a station depends on.

    Attributes:
        station: The reason of the station.
        confirmed_at: When the last valid response arrived; monotonic seconds.
        phase: The phase of the heartbeats, see `heartbeat_phase`.
        rules: The settings for availability.
        moment: The time of the evaluation.
        longest_span: Maximum time between two measurements whose energy counts as known, in seconds; `None`: energy is
            not counted.
        is_last_of_hour: Whether this is a poll after which none is expected before the end of the hour.
    """

    station: Reason | None
    confirmed_at: float
    phase: float
    rules: Rules
    moment: Moment
    longest_span: float | None = None
    is_last_of_hour: bool = False

    def plug(  # noqa: PLR0913, PLR0917  # see the module
        self,
        before: PlugState | None,
        uuid: str,
        label: str | None,
        reading: PlugReading | None,
        invalid: bool,  # noqa: FBT001
        missing_since: float | None,
        is_same: bool,  # noqa: FBT001
    ) -> PlugState:
        """Return a plug with its reason and its meter, and with a new publication time if `state` is to be published.

        It is published if anything except the measurement time and the counts of the meter changed. If only these
        changed, it is published once per heartbeat, with a step of energy, and with the last poll of an hour.

        Args:
            before: The plug before; `None` if it is new.
            uuid: See `PlugState`.
            label: See `PlugState`.
            reading: See `PlugState`.
            invalid: See `PlugState`.
            missing_since: See `PlugState`.
            is_same: Whether the reading has the same values as that of `before`, see `same_values`.
        """
        reason_before = meter = published_time = published = reading_before = None
        published_at, now = 0.0, self.moment.monotonic
        if before is not None:
            reason_before, meter, reading_before = before.reason, before.meter, before.reading
            published_at, published_time = before.last_published_at, before.last_published_time
            published = before.last_published_meter
        reason = self._reason(reason_before, reading, invalid, missing_since)
        if meter is not None or self.longest_span is not None:
            is_new = before is None or reading is not reading_before
            longest = self.longest_span
            if longest is not None and reading_before is None:
                longest = longest_first_span(longest, self.rules.heartbeat)
            meter = metered(meter, reading if is_new else None, reason, longest)
        time = reading.time if reading is not None else None
        if before is None or reason is not reason_before or not is_same:
            is_published = reason is not None
        else:
            is_published = time != published_time and (
                now >= next_heartbeat(self.phase, published_at, self.rules.heartbeat)
                or has_energy_step(published, meter, now - published_at)
                or (self.is_last_of_hour and is_unpublished(published, meter))
            )
        if is_published:
            published_at, published_time, published = now, time, published_meter(meter) if meter else None
        return PlugState(
            uuid,
            label,
            reading,
            invalid,
            missing_since,
            reason,
            published_at,
            published_time,
            meter,
            published,
        )

    def again(self, plug: PlugState) -> PlugState:
        """Return a plug that no response has changed."""
        return self.plug(plug, plug.uuid, plug.label, plug.reading, plug.invalid, plug.missing_since, True)  # noqa: FBT003

    def _reason(
        self,
        before: Reason | None,
        reading: PlugReading | None,
        invalid: bool,  # noqa: FBT001  # see the module
        missing_since: float | None,
    ) -> Reason | None:
        """Return why a plug is available or not; `None` for one of a previous run that no response has contained."""
        if self.station is not ONLINE and self.station is not None:
            return self.station
        if missing_since is not None:
            return Reason.MISSING
        if invalid:
            return Reason.INVALID_RESPONSE
        if reading is not None and (reason := meaning(reading.status).unavailable) is not None:
            return reason
        stale_after = self.rules.stale_after
        if stale_after and not -_FUTURE_SECONDS <= _age(reading, self.confirmed_at, self.moment) <= stale_after:
            return Reason.STALE
        return before if reading is None else ONLINE


def next_staleness(plug: PlugState, confirmed_at: float, rules: Rules, moment: Moment) -> float:
    """Return the seconds until the values of a plug become too old, or are no longer in the future; inf: never."""
    seconds = _age(plug.reading, confirmed_at, moment)
    if seconds < -_FUTURE_SECONDS:
        return -_FUTURE_SECONDS - seconds
    return rules.stale_after - seconds if seconds <= rules.stale_after else math.inf


def _age(reading: PlugReading | None, confirmed_at: float, moment: Moment) -> float:
    """Return the age of the values of a plug in seconds; negative if they were measured in the future."""
    if reading is None or reading.time is None:
        return moment.monotonic - confirmed_at
    return (moment.utc - reading.time).total_seconds()
