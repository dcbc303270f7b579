"""The outages of the engine, as the member reports them, and the calls that it saves meanwhile."""

import pytest

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.fleet.contact import Contact
from evse_mqtt_bridge.fleet.port import EngineUnavailableError


class _Listener(events.Listener):
    def __init__(self) -> None:
        self.events: list[object] = []

    def engine_unavailable(self, event: events.EngineUnavailable) -> None:
        self.events.append(event)

    def engine_available(self, event: events.EngineAvailable) -> None:
        self.events.append(event)


class _Test:
    def __init__(self) -> None:
        self.now = 100.0
        self.listener = _Listener()
        self.contact = Contact(self.listener, lambda: self.now, 2.5)


@pytest.fixture
def test() -> _Test:
    return _Test()


def test_first_answer_is_no_end_of_an_outage(test: _Test) -> None:
    test.now = 101.0
    test.contact.answered()
    test.contact.answered()
    assert test.listener.events == [events.EngineAvailable(0.0)]
    assert test.contact.is_present


def test_outage_at_the_start_lasts_from_the_start(test: _Test) -> None:
    for test.now in (101.0, 104.0):
        test.contact.lost(EngineUnavailableError("no answer"))
    assert not test.contact.is_present
    test.now = 107.0
    test.contact.answered()
    begin, end = events.EngineUnavailable("no answer", is_refused=False), events.EngineAvailable(7.0)
    assert test.listener.events == [begin, end]


def test_failed_call_saves_others_until_the_next_answer(test: _Test) -> None:
    test.contact.answered()
    test.contact.call_failed()
    assert test.contact.is_present, "only a beat shows an outage"
    assert not test.contact.is_worth_a_call
    test.now += 2.5
    assert test.contact.is_worth_a_call
    test.contact.call_failed()
    test.contact.answered()
    assert test.contact.is_worth_a_call
