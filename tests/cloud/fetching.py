"""What tests of the client have in common: the token, and a look at what kind of outcome it is."""

from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading

__all__ = ["TOKEN", "failure_of", "reading_of"]

TOKEN = "s3cr3t-t0ken"


def reading_of(outcome: Outcome) -> Reading:
    assert isinstance(outcome, Reading), outcome
    return outcome


def failure_of(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert outcome.detail.isprintable()
    return outcome
