"""Judges whether the bridge does its work: `healthy`, a restart would not help; `ready`, what it says is heard.

Only what a restart may mend makes a bridge unhealthy: polling that is stuck, or an event loop that does not turn, which
then answers nothing at all. A cloud that is slow, silent or asks to wait, and a broker that is away, are said in words.
"""

from dataclasses import dataclass

from evse_mqtt_bridge.observability.snapshot import Health

__all__ = ["LAG_TOLD", "LATE_TOLD", "STUCK_AFTER", "HealthInputs", "evaluate"]

STUCK_AFTER = 60.0
"""Seconds beyond the longest request in which no poll ended, though some were due, after which polling is stuck."""

LATE_TOLD = 5.0
"""Seconds by which polls may be late before it is said."""

LAG_TOLD = 1.0
"""Seconds by which the event loop may be late before it is said."""


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """What health is judged by; all in seconds.

    `lag` is the event loop's worst of the last minute. `late` is how long the earliest poll that is due, and may be
    made, has waited; `quiet` is how long ago a poll ended (or the bridge started); `longest` is how long the oldest
    request has been under way. `timeout` is what one may take, `pause` what the budget asks for between two. `held`
    tells that the cloud asked for no requests; `trouble` why there is no connection to the broker, where it is known.
    """

    lag: float
    late: float
    quiet: float
    timeout: float
    held: bool
    connected: bool
    trouble: str = ""
    stations: int = 1
    longest: float = 0.0
    pause: float = 0.0


def evaluate(vitals: HealthInputs) -> Health:
    """Health, with words for everything that is worth a look; none where all is well."""
    polling, words = _polling(vitals)
    if vitals.lag > LAG_TOLD:
        words.append(f"the event loop was held up for {vitals.lag:.1f} s within the last minute")
    if not vitals.connected:
        words.append(
            f"no connection to the broker: {vitals.trouble}"
            if vitals.trouble
            else "connecting to the broker, or clearing there what an earlier configuration left"
        )
    return Health(healthy=polling, ready=vitals.connected, words=tuple(words))


def _polling(vitals: HealthInputs) -> tuple[bool, list[str]]:
    """Whether polls are made, and what is to be said of them."""
    # While the loop was held up, or the machine asleep, nothing could end; it gets the same time again to catch up.
    patience = vitals.timeout + vitals.pause + STUCK_AFTER + vitals.lag
    if vitals.longest > patience:
        return False, [f"polling is stuck: a request has been under way for {vitals.longest:.0f} s"]
    if not vitals.stations:
        return True, ["no station is configured, so nothing is asked"]
    if vitals.held:
        return True, ["the cloud asked to wait: no requests until then"]
    if min(vitals.late, vitals.quiet) > patience:
        return False, [f"polling is stuck: no poll ended for {vitals.quiet:.0f} s, though some were due"]
    if vitals.late - vitals.lag > LATE_TOLD:
        words = (
            f"polls are {vitals.late:.0f} s late: the cloud is slow, or cloud.max_requests_per_second and "
            "cloud.max_concurrency are too low for the stations' intervals"
        )
        return True, [words]
    return True, []
