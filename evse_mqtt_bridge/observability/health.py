"""Evaluates liveness and readiness.

Liveness (`healthy`) is false only if a restart would help: when polling is stuck. When the event loop is blocked,
`/healthz` does not answer at all. Readiness (`ready`) is whether the bridge is connected to the broker. Problems that a
restart would not solve are described in messages: a slow or rate-limiting cloud, unavailable stations, an unreachable
broker, a fleet whose engine does not answer, rejected messages and a rejected reload.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Health

__all__ = ["LAG_THRESHOLD", "POLL_DELAY_THRESHOLD", "STUCK_AFTER", "HealthInputs", "evaluate"]

STUCK_AFTER = 60.0
"""Seconds in addition to the request timeout until polling counts as stuck, if polls are due and none completes."""

POLL_DELAY_THRESHOLD = 5.0
"""Seconds by which polls may be late without a message."""

LAG_THRESHOLD = 1.0
"""Seconds by which the event loop may be late without a message."""


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """The inputs of the health check. Durations are in seconds.

    Attributes:
        loop_lag: The longest lag of the event loop within the last minute.
        poll_delay: How long the earliest poll that is due and allowed has been waiting.
        since_last_poll: Time since a poll completed, or since the start.
        request_timeout: Maximum duration of a request.
        on_hold: Whether polling pauses because the cloud requested it.
        connected: Whether the broker is connected and no migration is under way.
        broker_error: Why the broker is not connected; empty: unknown.
        stations: Number of stations that the bridge polls.
        is_member: Whether the bridge is a member of a fleet, which may have nothing to poll.
        fleet_problem: What is wrong with the fleet; empty: nothing.
        longest_request: How long the oldest request in progress has taken so far.
        request_spacing: Minimum time between two requests because of the rate limit; 0: no limit.
        unavailable: Number of unavailable stations by reason.
        rejected_messages: Number of messages that the broker rejected on the current connection.
        reload_rejected: Whether the last reload was rejected.
    """

    loop_lag: float
    poll_delay: float
    since_last_poll: float
    request_timeout: float
    on_hold: bool
    connected: bool
    broker_error: str = ""
    stations: int = 1
    is_member: bool = False
    fleet_problem: str = ""
    longest_request: float = 0.0
    request_spacing: float = 0.0
    unavailable: Mapping[Reason, int] = field(default_factory=dict)
    rejected_messages: int = 0
    reload_rejected: bool = False


def evaluate(inputs: HealthInputs) -> Health:
    """Return liveness and readiness, with a message for each problem."""
    healthy, messages = _evaluate_polling(inputs)
    if inputs.loop_lag > LAG_THRESHOLD:
        messages.append(f"the event loop was blocked for {inputs.loop_lag:.1f} s within the last minute")
    if not inputs.connected:
        if inputs.broker_error:
            messages.append(f"no connection to the broker: {inputs.broker_error}")
        elif inputs.fleet_problem:  # a member connects when the engine has confirmed its name
            messages.append("no connection to the broker yet")
        else:
            messages.append("connecting to the broker, or clearing topics of an earlier configuration there")
    messages += _other_problems(inputs)
    return Health(healthy=healthy, ready=inputs.connected, messages=tuple(messages))


def _other_problems(inputs: HealthInputs) -> Iterator[str]:
    """Yield a message for each problem that concerns stations, topics or the configuration."""
    if unavailable := sum(inputs.unavailable.values()):
        by_reason = sorted(inputs.unavailable.items(), key=lambda item: (-item[1], item[0].value))
        reasons = ", ".join(f"{count} {reason.value}" for reason, count in by_reason if count)
        yield f"{unavailable} of {inputs.stations} stations unavailable: {reasons}"
    if inputs.fleet_problem:
        yield inputs.fleet_problem
    if inputs.rejected_messages:
        rejected = inputs.rejected_messages
        yield f"the broker rejected {rejected} message{'s' * (rejected > 1)}: check its access rules, see the log"
    if inputs.reload_rejected:
        yield "the last reload was rejected, the configuration before it is in use: see the log"


def _evaluate_polling(inputs: HealthInputs) -> tuple[bool, list[str]]:
    """Return whether polling works, and messages about it."""
    # While the loop was blocked, or the machine suspended, no poll could complete. So polling gets the same time again
    # to catch up.
    limit = inputs.request_timeout + inputs.request_spacing + STUCK_AFTER + inputs.loop_lag
    if inputs.longest_request > limit:
        return False, [f"polling is stuck: a request has been in progress for {inputs.longest_request:.0f} s"]
    if not inputs.stations:
        return True, [] if inputs.is_member else ["no station is configured, so nothing is polled"]
    if inputs.on_hold:
        return True, ["rate limited by the cloud: no requests until the requested pause ends"]
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
