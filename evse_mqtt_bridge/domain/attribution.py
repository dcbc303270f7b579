"""Attributes rejections (HTTP 401, 403, 404 and the like, or a web page) to one station, or to the cloud as a whole.

A rejected token concerns one station. But a firewall, a maintenance page or a failure of the API's login rejects every
station at once, and then the tokens are right. A response alone does not show which one it is, so the bridge compares
stations:

- If another station is answered after the rejection, the rejection concerns the station: `STATION`.
- If every station is rejected, or at least two are and no station is answered within a minute, the rejections concern
  the cloud: `CLOUD`. The first answer ends that. A station that is rejected after it is compared again.
- Until then a rejection is `UNDECIDED`. After a minute without an answer to any station, a single one concerns the
  station if the response is the API's own, that is JSON, and the cloud otherwise. If there is only one station, that is
  decided at once.

Only a rejection that concerns the station has the reasons `unauthorized` and `not_found`, which ask the user to act.
Any other means that the cloud answers with an error: `server_error`.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.events import CloudAnswering, CloudRejecting, TokenRejected
from evse_mqtt_bridge.domain.model import Attribution, Failure, Outcome, Reason

__all__ = ["Attributions", "Consequences"]

_MINUTE = 60.0
_OF_STATION = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND})


@dataclass(slots=True)
class _Rejection:
    """The rejections of a station in a row.

    Attributes:
        first_at: When the first one arrived, in monotonic seconds.
        last_at: When the last one arrived.
        failure: The last one, as the client reported it.
    """

    first_at: float
    last_at: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Consequences:
    """What the outcome of a poll leads to, beside the new state of its station.

    Attributes:
        decided: The stations whose earlier rejection turns out to concern them, each with that rejection.
        events: A rejected token; whether the cloud rejects all stations from now on, or answers again.
    """

    decided: tuple[tuple[str, Failure], ...] = ()
    events: tuple[TokenRejected | CloudRejecting | CloudAnswering, ...] = ()


class Attributions:
    """The rejections of all stations. Without any, a poll costs two comparisons.

    Attributes:
        consequences: Those of the last outcome; `None`: none. The caller handles them and sets `None` again.
    """

    def __init__(self) -> None:
        self.consequences: Consequences | None = None
        self._open: dict[str, _Rejection] = {}
        """The rejections that do not concern their station, or are undecided, in the order of the first one."""
        self._of_station: set[str] = set()
        """The stations with rejections that concern them."""
        self._rejecting_since: float | None = None
        """When the first of the rejections arrived that concern the cloud; `None` while it answers."""

    def attribute(self, uuid: str, outcome: Outcome, started: float, now: float, stations: int) -> Outcome:
        """Return the outcome of a poll with its attribution, and with the reason that follows from it.

        Args:
            uuid: The station.
            outcome: The outcome, undecided if it is a rejection.
            started: When the request was sent, in monotonic seconds.
            now: When the outcome arrived.
            stations: Number of configured stations.
        """
        if isinstance(outcome, Failure):
            return outcome if outcome.attribution is None else self._rejected(uuid, outcome, now, stations)
        if self._open or self._of_station:
            self._answered(uuid, started, now)
        return outcome

    def keep_only(self, stations: AbstractSet[str]) -> None:
        """Forget the rejections of all other stations."""
        self._open = {uuid: rejection for uuid, rejection in self._open.items() if uuid in stations}
        self._of_station.intersection_update(stations)

    def _rejected(self, uuid: str, failure: Failure, now: float, stations: int) -> Failure:
        if failure.reason is Reason.UNAUTHORIZED:
            self._report(TokenRejected(uuid))
        if uuid in self._of_station:
            return _attributed(failure, Attribution.STATION)
        rejection = self._open.setdefault(uuid, _Rejection(now, now, failure))
        rejection.last_at, rejection.failure = now, failure
        attribution = self._decide(rejection, now, stations)
        if attribution is Attribution.STATION:
            del self._open[uuid]
            self._of_station.add(uuid)
        return _attributed(failure, attribution)

    def _report(self, event: TokenRejected | CloudRejecting | CloudAnswering) -> None:
        known = self.consequences or Consequences()
        self.consequences = replace(known, events=(*known.events, event))

    def _decide(self, rejection: _Rejection, now: float, stations: int) -> Attribution:
        if self._rejecting_since is not None:
            return Attribution.CLOUD
        first_at = next(iter(self._open.values())).first_at
        is_single = len(self._open) == 1
        is_every_station = len(self._open) + len(self._of_station) >= stations
        has_waited = now - first_at >= _MINUTE or stations == 1
        if is_single and has_waited and rejection.failure.is_from_api:
            return Attribution.STATION
        if has_waited or (is_every_station and not is_single):
            self._rejecting_since = first_at
            detail = _attributed(rejection.failure, Attribution.CLOUD).detail
            self._report(CloudRejecting(detail, len(self._open)))
            return Attribution.CLOUD
        return Attribution.UNDECIDED

    def _answered(self, uuid: str, started: float, now: float) -> None:
        self._open.pop(uuid, None)
        self._of_station.discard(uuid)
        if self._rejecting_since is not None:
            self._report(CloudAnswering(now - self._rejecting_since))
            self._rejecting_since = None
            self._open.clear()
            return
        decided = tuple(other for other, rejection in self._open.items() if rejection.last_at < started)
        if decided:
            failures = tuple(
                (other, _attributed(self._open.pop(other).failure, Attribution.STATION)) for other in decided
            )
            self._of_station.update(decided)
            self.consequences = Consequences(failures)


def _attributed(failure: Failure, attribution: Attribution) -> Failure:
    """Return a rejection with the reason and the text that follow from its attribution."""
    if attribution is Attribution.STATION or failure.reason not in _OF_STATION:
        return replace(failure, attribution=attribution)
    status = failure.detail.partition(":")[0]
    detail = status if failure.is_from_api else f"{status}: the response is not the API's"
    return replace(failure, reason=Reason.SERVER_ERROR, detail=detail, attribution=attribution)
