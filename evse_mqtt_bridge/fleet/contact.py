"""Whether the engine answers this member, and since when it does not."""

from collections.abc import Callable
from enum import Enum

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError

__all__ = ["Contact"]


class _Contact(Enum):
    UNKNOWN = "no beat has ended yet"
    PRESENT = "the engine answered the last beat"
    LOST = "the engine did not answer the last beat"


class Contact:
    """The contact with the engine, which each beat confirms or not.

    Args:
        listener: Receives the begin and the end of each outage.
        now: Returns monotonic seconds.
        retry_after: Time after a call without an answer in which only beats are sent, in seconds.

    Attributes:
        answered_at: When the engine answered a beat last, or the start before that, in monotonic seconds.
    """

    def __init__(self, listener: events.Listener, now: Callable[[], float], retry_after: float) -> None:
        self._listener = listener
        self._now = now
        self._retry_after = retry_after
        self._state = _Contact.UNKNOWN
        self._no_calls_until = 0.0
        """Until when no other call than a beat is sent, in monotonic seconds."""
        self.answered_at = now()

    @property
    def is_present(self) -> bool:
        """Whether the engine answered the last beat."""
        return self._state is _Contact.PRESENT

    @property
    def is_worth_a_call(self) -> bool:
        """Whether a call other than a beat may be answered, so that its time limit is not spent in vain."""
        return self._now() >= self._no_calls_until

    def answered(self) -> None:
        """Note that the engine answered a beat."""
        now = self._now()
        if self._state is not _Contact.PRESENT:
            after = now - self.answered_at if self._state is _Contact.LOST else 0.0
            self._listener.engine_available(events.EngineAvailable(after))
        self._state, self.answered_at, self._no_calls_until = _Contact.PRESENT, now, 0.0

    def lost(self, error: EngineUnavailableError | EngineRefusedError) -> None:
        """Note that the engine did not answer a beat, or refused it."""
        self.call_failed()
        if self._state is not _Contact.LOST:
            self._state = _Contact.LOST
            is_refused = isinstance(error, EngineRefusedError)
            self._listener.engine_unavailable(events.EngineUnavailable(str(error), is_refused))

    def call_failed(self) -> None:
        """Note that the engine did not answer a call other than a beat, or refused it."""
        self._no_calls_until = self._now() + self._retry_after
