"""Rejections are attributed to one station, or to the cloud that rejects all of them."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.attribution import Attributions, Consequences
from evse_mqtt_bridge.domain.events import CloudAnswering, CloudRejecting, TokenRejected
from evse_mqtt_bridge.domain.model import Attribution, Failure, Outcome, Reason
from tests.harness.samples import failure, reading, rejection

_REJECTED = rejection()
_FOREIGN = rejection(is_from_api=False)
_PAGE = Failure(Reason.SERVER_ERROR, "HTTP 403 Forbidden: a page", attribution=Attribution.UNDECIDED, is_from_api=False)
_OK = reading()
_UNDECIDED, _STATION, _CLOUD = Attribution.UNDECIDED, Attribution.STATION, Attribution.CLOUD


@dataclass
class _Polls:
    """Attributes the outcomes of polls that each take 0.1 s."""

    stations: int = 3
    attributions: Attributions = field(default_factory=Attributions)
    now: float = 1000.0
    decided: dict[str, Failure] = field(default_factory=dict)
    events: list[CloudRejecting | CloudAnswering] = field(default_factory=list)
    rejected_tokens: list[str] = field(default_factory=list)

    def poll(self, uuid: str, outcome: Outcome, wait: float = 1.0, seconds: float = 0.1) -> Outcome:
        self.now += wait
        attributed = self.attributions.attribute(uuid, outcome, self.now - seconds, self.now, self.stations)
        consequences = self.attributions.consequences or Consequences()
        self.attributions.consequences = None
        self.decided.update(consequences.decided)
        self.rejected_tokens += [event.uuid for event in consequences.events if isinstance(event, TokenRejected)]
        self.events += [event for event in consequences.events if not isinstance(event, TokenRejected)]
        return attributed

    def reject(self, uuid: str, outcome: Failure = _REJECTED, wait: float = 1.0) -> Attribution | None:
        attributed = self.poll(uuid, outcome, wait)
        assert isinstance(attributed, Failure)
        return attributed.attribution


def test_other_outcomes_are_unchanged() -> None:
    polls = _Polls()
    unreachable = failure(Reason.UNREACHABLE)
    assert polls.poll("a", _OK) is _OK
    assert polls.poll("a", unreachable) is unreachable
    polls.reject("b")
    assert polls.poll("a", unreachable) is unreachable
    assert polls.poll("a", _OK) is _OK


def test_undecided_rejection_blames_no_token() -> None:
    undecided = _Polls().poll("a", _REJECTED)
    assert isinstance(undecided, Failure)
    assert (undecided.reason, undecided.detail) == (Reason.SERVER_ERROR, "HTTP 401 Unauthorized")
    foreign = _Polls().poll("a", _FOREIGN)
    assert isinstance(foreign, Failure)
    assert foreign.detail == "HTTP 401 Unauthorized: the response is not the API's"
    assert undecided.is_probed


def test_rejection_concerns_the_station_once_another_is_answered() -> None:
    polls = _Polls()
    assert polls.reject("a") is _UNDECIDED
    polls.poll("b", _OK)
    assert polls.decided["a"].attribution is _STATION
    assert (polls.decided["a"].reason, polls.decided["a"].detail) == (_REJECTED.reason, _REJECTED.detail)
    assert polls.reject("a") is _STATION
    assert polls.events == []


def test_answer_to_an_earlier_request_decides_nothing() -> None:
    """Its request was sent before the rejection, so the cloud may have begun to reject in between."""
    polls = _Polls()
    polls.reject("a")
    polls.poll("b", _OK, wait=0.05)
    assert polls.decided == {}
    assert polls.reject("a") is _UNDECIDED
    polls.poll("b", _OK)
    assert polls.decided.keys() == {"a"}


def test_rejection_of_every_station_concerns_the_cloud() -> None:
    polls = _Polls()
    assert [polls.reject(uuid) for uuid in "abc"] == [_UNDECIDED, _UNDECIDED, _CLOUD]
    assert polls.events == [CloudRejecting("HTTP 401 Unauthorized", 3)]
    assert [polls.reject(uuid) for uuid in "abca"] == [_CLOUD] * 4
    assert len(polls.events) == 1
    assert polls.decided == {}


def test_rejections_in_a_minute_without_answer_concern_the_cloud() -> None:
    """The other stations may be polled less often, or be unreachable."""
    polls = _Polls(stations=100)
    assert polls.reject("a") is _UNDECIDED
    polls.poll("z", failure(Reason.UNREACHABLE))
    assert polls.reject("b", wait=40) is _UNDECIDED
    assert polls.reject("a", wait=20) is _CLOUD
    assert polls.events == [CloudRejecting("HTTP 401 Unauthorized", 2)]


def test_first_answer_ends_the_rejection_by_the_cloud() -> None:
    polls = _Polls()
    for uuid in "abc":
        polls.reject(uuid)
    polls.poll("a", _OK, wait=100)
    assert polls.events[1:] == [CloudAnswering(102.0)]
    assert polls.decided == {}, "the others may have been rejected by the cloud alone"
    assert polls.reject("b") is _UNDECIDED
    polls.poll("a", _OK)
    assert polls.decided.keys() == {"b"}, "and it is still rejected after that"


def test_rejected_station_stays_decided_through_other_outcomes() -> None:
    polls = _Polls()
    polls.reject("a")
    polls.poll("b", _OK)
    polls.poll("a", failure(Reason.UNREACHABLE))
    assert polls.reject("a") is _STATION
    polls.poll("a", _OK)
    assert polls.reject("a") is _UNDECIDED


def test_decided_stations_count_as_rejected_by_the_cloud_too() -> None:
    polls = _Polls()
    polls.reject("a")
    polls.poll("b", _OK)
    assert [polls.reject(uuid) for uuid in "bc"] == [_UNDECIDED, _CLOUD]
    assert polls.reject("a") is _STATION
    polls.poll("b", _OK)
    assert polls.reject("a") is _STATION, "its token is known to be wrong"


@pytest.mark.parametrize(("outcome", "attribution"), [(_REJECTED, _STATION), (_FOREIGN, _CLOUD), (_PAGE, _CLOUD)])
def test_only_station_is_decided_at_once_by_the_content(outcome: Failure, attribution: Attribution) -> None:
    polls = _Polls(stations=1)
    assert polls.reject("a", outcome) is attribution
    assert len(polls.events) == (attribution is _CLOUD)
    polls.poll("a", _OK)
    assert len(polls.events) == 2 * (attribution is _CLOUD)


@pytest.mark.parametrize(("outcome", "attribution"), [(_REJECTED, _STATION), (_FOREIGN, _CLOUD), (_PAGE, _CLOUD)])
def test_single_rejection_is_decided_after_a_minute(outcome: Failure, attribution: Attribution) -> None:
    polls = _Polls(stations=3)
    for uuid in "bc":
        polls.poll(uuid, failure(Reason.UNREACHABLE))
    assert polls.reject("a", outcome) is _UNDECIDED
    assert polls.reject("a", outcome, wait=30) is _UNDECIDED
    assert polls.reject("a", outcome, wait=30) is attribution


def test_page_never_blames_the_token() -> None:
    polls = _Polls()
    polls.reject("a", _PAGE)
    polls.poll("b", _OK)
    assert polls.decided["a"].reason is Reason.SERVER_ERROR
    assert polls.decided["a"].detail == _PAGE.detail


def test_each_rejected_token_is_reported() -> None:
    """Also while it is undecided, because its file may contain another one by now."""
    polls = _Polls()
    for uuid, outcome in (("a", _REJECTED), ("a", _FOREIGN), ("b", rejection(Reason.NOT_FOUND)), ("c", _PAGE)):
        polls.reject(uuid, outcome)
    polls.reject("b")
    assert polls.rejected_tokens == ["a", "a", "b"]


def test_keep_only_forgets_other_stations() -> None:
    polls = _Polls()
    polls.reject("a")
    polls.poll("b", _OK)
    polls.reject("c")
    polls.attributions.keep_only(frozenset({"b"}))
    polls.poll("b", _OK)
    assert polls.decided.keys() == {"a"}
    assert polls.reject("a") is _UNDECIDED


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([_OK, _REJECTED, _FOREIGN, _PAGE]), st.floats(0, 40)))
)
def test_events_alternate_and_every_rejection_is_attributed(polled: list[tuple[str, Outcome, float]]) -> None:
    polls = _Polls(stations=4)
    for uuid, outcome, wait in polled:
        attributed = polls.poll(uuid, outcome, wait)
        if isinstance(attributed, Failure):
            is_rejecting = bool(polls.events) and isinstance(polls.events[-1], CloudRejecting)
            assert attributed.attribution is not None
            assert is_rejecting or attributed.attribution is not _CLOUD
            assert attributed.attribution is _STATION or attributed.reason is Reason.SERVER_ERROR
    assert [isinstance(event, CloudRejecting) for event in polls.events] == [
        number % 2 == 0 for number in range(len(polls.events))
    ]
