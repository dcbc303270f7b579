"""Events reach every listener, in order."""

import inspect

import pytest

from evse_mqtt_bridge.domain.events import Listener, Listeners, PollCompleted, StationRemoved

_METHODS = [name for name, _ in inspect.getmembers(Listener, inspect.isfunction) if not name.startswith("_")]


class _Recorder(Listener):
    """Records the events that it receives, with its own number, in a list that it shares."""

    def __init__(self, number: int, received: list[tuple[int, str, object]]) -> None:
        self.number = number
        self.received = received


def _recording(name: str) -> object:
    def receive(recorder: _Recorder, event: object) -> None:
        recorder.received.append((recorder.number, name, event))

    return receive


for _name in _METHODS:
    setattr(_Recorder, _name, _recording(_name))


class _PollRecorder(Listener):
    """Overrides one method."""

    def __init__(self) -> None:
        self.polls: list[PollCompleted] = []

    def poll_completed(self, event: PollCompleted) -> None:
        self.polls.append(event)


@pytest.mark.parametrize("name", _METHODS)
def test_listeners_pass_event_to_each_listener_in_order(name: str) -> None:
    received: list[tuple[int, str, object]] = []
    listeners = Listeners((_Recorder(1, received), Listener(), _Recorder(2, received)))
    event = object()
    getattr(listeners, name)(event)
    assert received == [(1, name, event), (2, name, event)]


def test_listener_receives_only_what_it_overrides() -> None:
    listener = _PollRecorder()
    listeners = Listeners((listener,))
    listeners.station_removed(StationRemoved("s1"))
    assert listener.polls == []
