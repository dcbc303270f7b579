"""Faults that the simulated API injects into its responses, selected by a seed."""

from dataclasses import dataclass
from enum import StrEnum

from evse_mqtt_bridge.simulator.seeded_random import SeededRandom

__all__ = ["NO_FAULTS", "Fault", "Faults"]


class Fault(StrEnum):
    """A kind of faulty response; all kinds are equally likely. The value is the text in a log line."""

    SERVER_ERROR = "status 500"
    UNAVAILABLE = "status 503 with Retry-After as a date"
    RATE_LIMITED = "status 429 with Retry-After in seconds"
    SLOW = "response delayed"
    DROPPED = "connection closed without a response"
    TRUNCATED = "truncated JSON"
    HTML = "HTML page instead of JSON"


@dataclass(frozen=True, slots=True)
class Faults:
    """Selects faults; the same seed selects the same faults.

    Attributes:
        seed: Any integer.
        rate: Share of faulty responses, 0 to 1.
        slow: Delay of a slow response in seconds; by default longer than the bridge's timeout.
        retry_after: Retry-After of status 429 and 503 in seconds.
    """

    seed: int = 1
    rate: float = 0.0
    slow: float = 12.0
    retry_after: int = 5

    def of(self, uuid: str, number: int) -> Fault | None:
        """Return the fault for request number `number` to the station `uuid`; `None` for a correct response.

        Requests are counted per station, so that their order across stations does not matter.
        """
        if not self.rate:
            return None
        seeded_random = SeededRandom("fault", self.seed, uuid, number)
        if seeded_random.random() >= self.rate:
            return None
        kinds = tuple(Fault)
        return kinds[int(seeded_random.random() * len(kinds))]


NO_FAULTS = Faults()
