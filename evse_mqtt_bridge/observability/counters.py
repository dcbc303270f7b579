"""Counts what the bridge does, for the metrics."""

from bisect import bisect_left
from collections import Counter

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Failure, Reason

__all__ = ["DURATION_BUCKETS", "Counters"]

DURATION_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of the histogram of poll durations. Longer polls fall into one more bucket."""


class Counters(events.Listener):
    """Listener that counts events since the start of the process; the counters never decrease.

    Attributes:
        successes: Number of polls with a useful response. A plain number, because most polls succeed and an enum as a
            key costs more than the rest of the counting.
        failures: Number of failed polls, by reason.
        durations: Number of polls per bucket of `DURATION_BUCKETS`, and one bucket more; not cumulative.
        total_duration: Duration of all polls together, in seconds.
        unusual_answers: Number of useful responses with at least one note.
        connects: Number of connections that the broker accepted.
        disconnects: Number of lost connections and failed attempts to connect, by reason.
        rejected_messages: Number of messages that the broker rejected.
        reloads_applied: Number of changed configurations that were applied.
        reloads_rejected: Number of changed configurations that were invalid.
        shards_begun: Number of shards that began to run because an engine assigned them.
        shards_handed_over: Number of shards that were handed over.
        shards_lost: Number of shards that were stopped, because another member holds them.
    """

    def __init__(self) -> None:
        self.successes = 0
        self.failures: Counter[Reason] = Counter()
        self.durations = [0] * (len(DURATION_BUCKETS) + 1)
        self.total_duration = 0.0
        self.unusual_answers = 0
        self.connects = 0
        self.disconnects: Counter[events.DisconnectReason] = Counter()
        self.rejected_messages = 0
        self.reloads_applied = 0
        self.reloads_rejected = 0
        self.shards_begun = 0
        self.shards_handed_over = 0
        self.shards_lost = 0

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Count a poll by outcome and duration."""
        outcome, seconds = event.outcome, event.seconds
        if isinstance(outcome, Failure):
            self.failures[outcome.reason] += 1
        else:
            self.successes += 1
            if outcome.notes:
                self.unusual_answers += 1
        self.durations[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.total_duration += seconds

    def broker_connected(self, event: events.BrokerConnected) -> None:  # noqa: ARG002  # it has no attributes
        """Count a connection."""
        self.connects += 1

    def broker_disconnected(self, event: events.BrokerDisconnected) -> None:
        """Count the end of a connection, or a failed attempt, by reason."""
        self.disconnects[event.reason] += 1

    def publish_rejected(self, event: events.PublishRejected) -> None:  # noqa: ARG002  # not counted by topic
        """Count a rejected message."""
        self.rejected_messages += 1

    def configuration_applied(self, event: events.ConfigurationApplied) -> None:  # noqa: ARG002  # counted only
        """Count a reload."""
        self.reloads_applied += 1

    def configuration_rejected(self, event: events.ConfigurationRejected) -> None:  # noqa: ARG002  # counted only
        """Count a rejected reload, however many problems it has."""
        self.reloads_rejected += 1

    def shard_begun(self, event: events.ShardBegun) -> None:  # noqa: ARG002  # not counted by shard
        """Count a shard that runs here from now on."""
        self.shards_begun += 1

    def shard_handed_over(self, event: events.ShardHandedOver) -> None:  # noqa: ARG002  # same
        """Count a shard that was handed over."""
        self.shards_handed_over += 1

    def shard_lost(self, event: events.ShardLost) -> None:  # noqa: ARG002  # same
        """Count a shard that was stopped."""
        self.shards_lost += 1
