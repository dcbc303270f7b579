"""Tells the log what happens: one line when something goes, one when it is back, and never a flood.

It watches the line from outside. What it remembers is only what it has said, within bounds.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugState, Reading, Reason, Station, StationState
from evse_mqtt_bridge.mqtt.connection import Disconnected, DisconnectReason
from evse_mqtt_bridge.mqtt.reconnect import STEADY_AFTER
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.support.text import clean

__all__ = ["LINES_PER_MINUTE", "EventLog", "RateLimiter", "duration"]

LINES_PER_MINUTE = 60
"""Lines about stations and plugs within a minute, beyond which they are only counted."""

_HOLD_AGAIN = 600.0
"""Seconds in which the cloud's asking to wait is said once, however often it asks."""

_REMEMBERED = 1000
_MINUTE = 60.0
_OUTAGE = frozenset({DisconnectReason.LOST, DisconnectReason.UNREACHABLE})
_RESTLESS = frozenset({DisconnectReason.TAKEN_OVER, DisconnectReason.UNSTEADY})
"""After these, coming and going is no news until a connection lasts."""

_LOUD = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND})


@dataclass(slots=True)
class RateLimiter:
    """Lets `limit` through per minute and counts the rest; times are monotonic seconds."""

    limit: int
    _began: float = 0.0
    _passed: int = 0
    _held: int = 0

    def passes(self, now: float) -> bool:
        """Whether one more may be said."""
        if now - self._began >= _MINUTE and not self._held:
            self._began, self._passed = now, 0
        if self._passed < self.limit:
            self._passed += 1
            return True
        self._held += 1
        return False

    def held(self, now: float) -> int:
        """How many were not said in a minute that is over; asking starts the next one."""
        if now - self._began < _MINUTE or not self._held:
            return 0
        held, self._held = self._held, 0
        self._began, self._passed = now, 0
        return held


@dataclass(slots=True)
class EventLog:
    """See the module; `now` is monotonic seconds."""

    log: Logger
    now: Callable[[], float]
    broker: str
    client_id: str
    _since: dict[tuple[str, ...], float] = field(default_factory=dict)
    _said: dict[tuple[str, ...], None] = field(default_factory=dict)
    _rate_limiter: RateLimiter = field(default_factory=lambda: RateLimiter(LINES_PER_MINUTE))
    _broker_told: set[DisconnectReason] = field(default_factory=set)
    _connected_at: float | None = None
    _ever_connected: bool = False
    _hold_told_until: float = 0.0

    # Stations

    def polled(self, station: Station, old: StationState, new: StationState, outcome: Outcome) -> None:
        """One poll: says what it changed."""
        if isinstance(outcome, Reading):
            for note in outcome.notes:
                if self._first_time(("note", note)):
                    self._say(self.log.warning, "unusual answer", station=clean(station.title), detail=note)
        else:
            self.log.debug("poll failed", station=clean(station.title), reason=outcome.reason, detail=outcome.detail)
            self._hold(outcome)
        self._station_changed(station, old, new, outcome)
        if new.reason is Reason.ONLINE:
            for uuid, plug in new.plugs.items():
                self._plug_changed(station, old.plugs.get(uuid), plug)
            for uuid in old.plugs.keys() - new.plugs.keys():
                self._since.pop(("plug", station.uuid, uuid), None)
                event = "plug removed, after a day without it"
                self._say(self.log.info, event, station=clean(station.title), plug=uuid)

    def aged(self, station: Station, old: StationState, new: StationState) -> None:
        """Time passed without a poll: says which plugs' measurements became too old."""
        for uuid, plug in new.plugs.items():
            self._plug_changed(station, old.plugs.get(uuid), plug)

    def _station_changed(self, station: Station, old: StationState, new: StationState, outcome: Outcome) -> None:
        if new.reason is old.reason:
            return
        key, name = ("station", station.uuid), clean(station.title)
        if new.reason is Reason.ONLINE:
            since = self._since.pop(key, None)
            for reason in _LOUD:
                self._since.pop((*key, reason), None)
            if since is None:
                self._say(self.log.info, "station answers", station=name, plugs=len(new.plugs))
            else:
                self._say(self.log.info, "station is back", station=name, after=duration(self.now() - since))
            return
        began = key not in self._since
        self._since.setdefault(key, self.now())
        detail = outcome.detail if isinstance(outcome, Failure) else ""
        if new.reason in _LOUD and (*key, new.reason) not in self._since:
            self._since[*key, new.reason] = self.now()
            advice = "check its token" if new.reason is Reason.UNAUTHORIZED else "check edge_device_id and uuid"
            self._say(self.log.error, "station rejected", station=name, reason=new.reason, detail=detail, advice=advice)
        elif began:
            self._say(self.log.warning, "station unavailable", station=name, reason=new.reason, detail=detail)
        else:
            self.log.debug("station still unavailable", station=name, reason=new.reason, detail=detail)

    def _plug_changed(self, station: Station, old: PlugState | None, new: PlugState) -> None:
        if old is not None and old.reason is new.reason:
            return
        key = ("plug", station.uuid, new.uuid)
        known = {"station": clean(station.title), "plug": clean(new.label or station.plugs.get(new.uuid) or new.uuid)}
        if new.reason is Reason.ONLINE:
            since = self._since.pop(key, None)
            if since is not None:
                self._say(self.log.info, "plug is back", **known, after=duration(self.now() - since))
            return
        if key not in self._since:
            self._since[key] = self.now()
            self._say(self.log.warning, "plug unavailable", **known, reason=new.reason)

    def _hold(self, failure: Failure) -> None:
        if failure.retry_after is None or self.now() < self._hold_told_until:
            return
        self._hold_told_until = self.now() + max(failure.retry_after, _HOLD_AGAIN)
        event = "the cloud asks to wait: no requests until then"
        self.log.warning(event, wait=duration(failure.retry_after), detail=failure.detail)

    def forget(self, uuids: AbstractSet[str]) -> None:
        """These stations went; what was remembered of them goes too."""
        if uuids:
            self._since = {key: since for key, since in self._since.items() if uuids.isdisjoint(key[1:2])}

    def tick(self) -> None:
        """To be called now and then: says how much was not said, and that a restless broker calmed down."""
        if self._connected_at is not None and self._broker_told and self.now() - self._connected_at >= STEADY_AFTER:
            self._say_connected()
        held = self._rate_limiter.held(self.now())
        if held:
            self.log.warning("more stations changed than is said here: see their availability topics", lines=held)

    # The broker

    def meet(self, broker: str, client_id: str) -> None:
        """It is another broker from now on, or another client there; what was said of stations stays said."""
        self.broker, self.client_id = broker, client_id
        self._broker_told.clear()
        self._connected_at, self._ever_connected = None, False
        self._since.pop(("broker",), None)
        self._said = {key: None for key in self._said if key[0] == "note"}

    def broker_connected(self) -> None:
        """A connection was accepted."""
        self._connected_at = self.now()
        if self._broker_told & _RESTLESS:
            self.log.debug("connected to the broker", broker=self.broker)
        else:
            self._say_connected()

    def _say_connected(self) -> None:
        since = self._since.pop(("broker",), None)
        lost = {"after": duration(self.now() - since)} if since is not None and self._ever_connected else {}
        self.log.info("connected to the broker", broker=self.broker, **lost)
        self._ever_connected = True
        self._broker_told.clear()

    def broker_ended(self, ended: Disconnected, wait: float) -> None:
        """A connection, or an attempt, ended."""
        self._connected_at = None
        again = {"detail": ended.detail, "next_attempt": duration(wait)}
        if ended.trouble in self._broker_told or (ended.trouble in _OUTAGE and self._broker_told & _RESTLESS):
            self.log.debug("still no lasting connection to the broker", broker=self.broker, **again)
            return
        self._broker_told.add(ended.trouble)
        self._since.setdefault(("broker",), self.now())
        match ended.trouble:
            case DisconnectReason.TAKEN_OVER:
                event = "another client uses this client id: give each bridge its own mqtt.client_id"
                self.log.error(event, client_id=self.client_id, broker=self.broker, **again)
            case DisconnectReason.UNSTEADY:
                event = "connections to the broker do not last: does another client use this client id?"
                advice = "give each bridge its own mqtt.client_id; if that is not it, see the broker's log"
                self.log.error(event, client_id=self.client_id, broker=self.broker, advice=advice, **again)
            case DisconnectReason.LOGIN:
                advice = "check mqtt.username, mqtt.password and what the broker allows this user"
                self.log.error("the broker refused the login", broker=self.broker, advice=advice, **again)
            case DisconnectReason.REFUSED:
                self.log.error("the broker refused the connection", broker=self.broker, **again)
            case DisconnectReason.TLS:
                self.log.error("no TLS connection to the broker", broker=self.broker, **again)
            case DisconnectReason.UNREACHABLE:
                self.log.warning("the broker cannot be reached, trying on", broker=self.broker, **again)
            case DisconnectReason.LOST:
                self.log.warning("lost the broker, trying on", broker=self.broker, **again)

    def publish_refused(self, topic: str, reason: str) -> None:
        """The broker will not have a publication."""
        if self._first_time(("refused", topic)):
            self._say(self.log.error, "the broker refused a message", topic=clean(topic, 256), reason=reason)

    def subscription_refused(self, topic_filter: str) -> None:
        """The broker will not have a subscription."""
        if self._first_time(("subscription", topic_filter)):
            self.log.warning("the broker refused a subscription", filter=topic_filter)

    def birth_seen(self) -> None:
        """A consumer started."""
        self.log.info("a consumer of discovery started: publishing everything again")

    def farewell_failed(self) -> None:
        """`offline` was not acknowledged."""
        self.log.warning("the broker did not acknowledge offline in time: it will publish it as the will")

    # Within

    def _say(self, level: Callable[..., object], event: str, **known: object) -> None:
        if self._rate_limiter.passes(self.now()):
            level(event, **known)

    def _first_time(self, key: tuple[str, ...]) -> bool:
        if key in self._said:
            return False
        while len(self._said) >= _REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[key] = None
        return True


def duration(seconds: float) -> str:
    """A span of time in words: `0.8 s`, `12 s`, `4 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 9.95:  # noqa: PLR2004  # below ten, tenths are of interest
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    if minutes < 2:  # noqa: PLR2004  # up to two minutes are said in seconds
        return f"{whole + 60 * minutes} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes:02} min"
