"""Which answers of the simulated API are faults, and of which kind, decided by a seed and not by chance."""

from dataclasses import dataclass
from enum import StrEnum

from evse_mqtt_bridge.simulator.seeded_random import SeededRandom

__all__ = ["NO_FAULTS", "Fault", "Faults"]


class Fault(StrEnum):
    """A way in which an answer goes wrong, each as likely as the others; the value says it in a log line."""

    SERVER_ERROR = "status 500"
    UNAVAILABLE = "status 503 with Retry-After as a date"
    RATE_LIMITED = "status 429 with Retry-After in seconds"
    SLOW = "an answer that comes too late"
    DROPPED = "a connection closed without an answer"
    TRUNCATED = "JSON cut off in the middle"
    HTML = "a web page instead of JSON"


@dataclass(frozen=True, slots=True)
class Faults:
    """A share `rate` (0 to 1) of the answers are faults, always the same for the same `seed`.

    `slow` is how late a slow answer comes, in seconds: by default later than the bridge waits. `retry_after` is what
    429 and 503 ask for, in seconds.
    """

    seed: int = 1
    rate: float = 0.0
    slow: float = 12.0
    retry_after: int = 5

    def of(self, uuid: str, number: int) -> Fault | None:
        """The fault of the answer to request number `number` for station `uuid`, where it is to be one.

        Requests are counted per station, so that how those for several stations interleave makes no difference.
        """
        if not self.rate:
            return None
        seeded_random = SeededRandom("fault", self.seed, uuid, number)
        if seeded_random.roll() >= self.rate:
            return None
        kinds = tuple(Fault)
        return kinds[int(seeded_random.roll() * len(kinds))]


NO_FAULTS = Faults()
