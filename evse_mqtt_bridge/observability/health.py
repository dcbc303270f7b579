"""Evaluates liveness and readiness.

Liveness (`healthy`) is false only if a restart would help: when polling is stuck. When the event loop is blocked,
`/healthz` does not answer at all. Readiness (`ready`) is whether the bridge is connected to the broker. A slow or
rate-limiting cloud and an unreachable broker are described in messages.
"""

from dataclasses import dataclass

from evse_mqtt_bridge.observability.snapshot import Health

__all__ = ["LAG_THRESHOLD", "POLL_DELAY_THRESHOLD", "STUCK_AFTER", "HealthInputs", "evaluate"]

STUCK_AFTER = 60.0
"""Seconds beyond the request timeout after which polling counts as stuck, if polls are due and none completes."""

POLL_DELAY_THRESHOLD = 5.0
"""Seconds by which polls may be late without a message."""

LAG_THRESHOLD = 1.0
"""Seconds by which the event loop may be late without a message."""


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """What health is evaluated from. Durations are in seconds.

    Attributes:
        loop_lag: The event loop's worst lag within the last minute.
        poll_delay: How long the earliest poll that is due, and allowed, has been waiting.
        since_last_poll: Time since a poll completed, or since the start.
        request_timeout: How long a request may take.
        on_hold: Whether polling pauses because the cloud asked to wait.
        connected: Whether the broker is connected and no migration is under way.
        broker_error: Why the broker is not connected; empty if that is not known.
        stations: How many stations are configured.
        longest_request: How long the oldest request in progress has taken so far.
        request_spacing: Time between two requests that the rate limit prescribes; 0 without a limit.
    """

    loop_lag: float
    poll_delay: float
    since_last_poll: float
    request_timeout: float
    on_hold: bool
    connected: bool
    broker_error: str = ""
    stations: int = 1
    longest_request: float = 0.0
    request_spacing: float = 0.0


def evaluate(inputs: HealthInputs) -> Health:
    """Return liveness and readiness, with a message for everything that needs attention."""
    healthy, messages = _evaluate_polling(inputs)
    if inputs.loop_lag > LAG_THRESHOLD:
        messages.append(f"the event loop was held up for {inputs.loop_lag:.1f} s within the last minute")
    if not inputs.connected:
        messages.append(
            f"no connection to the broker: {inputs.broker_error}"
            if inputs.broker_error
            else "connecting to the broker, or clearing topics of an earlier configuration there"
        )
    return Health(healthy=healthy, ready=inputs.connected, messages=tuple(messages))


def _evaluate_polling(inputs: HealthInputs) -> tuple[bool, list[str]]:
    """Return whether polling works, and messages about it."""
    # While the loop was held up, or the machine asleep, no poll could complete: the same time is granted to catch up.
    limit = inputs.request_timeout + inputs.request_spacing + STUCK_AFTER + inputs.loop_lag
    if inputs.longest_request > limit:
        return False, [f"polling is stuck: a request has been in progress for {inputs.longest_request:.0f} s"]
    if not inputs.stations:
        return True, ["no station is configured, so nothing is polled"]
    if inputs.on_hold:
        return True, ["the cloud asked to wait: no requests until then"]
    if min(inputs.poll_delay, inputs.since_last_poll) > limit:
        waited = inputs.since_last_poll
        return False, [f"polling is stuck: polls are due, but none has completed for {waited:.0f} s"]
    if inputs.poll_delay - inputs.loop_lag > POLL_DELAY_THRESHOLD:
        message = (
            f"polls are {inputs.poll_delay:.0f} s late: the cloud is slow, or cloud.max_requests_per_second and "
            "cloud.max_concurrency are too low for the stations' intervals"
        )
        return True, [message]
    return True, []
