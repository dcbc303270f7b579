"""After any sequence of events, the broker retains exactly the topics of the current states.

Polls, other configurations, lost connections, brokers that lose their retained messages and restarts of the bridge
drive the real Publication against a model of the broker that only stores topics. In addition to the topics of a full
republish, the broker may retain the last payload of a value that is no longer known, or of a plug of a previous run,
but only on topics of the same plug.

Two things are not guaranteed. Topics may remain if a change of the configuration is interrupted twice, by another
change and by a lost connection or the end of the process, because the manifest entry of a station cannot describe both.
And a device may be discovered in both forms if a change is overtaken by another one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, Reading, Reason, Station
from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Phase
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import FAILURES, NOW, at
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

if TYPE_CHECKING:
    from evse_mqtt_bridge.publishing.outputs.protocol import Location

_STATIONS = ("e1", "e2", "e3")
_PLUGS = ("p1", "p2")
_FOREIGN = {
    "evse/thermostat/power": b"5",
    "evse/x/custom": b"1",
    "evse/x/left/custom": b"1",
    "evse/e1/p1/power/set": b"1",
    "evse/bridge/custom": b"1",
    "evse/other/info": b'{"published_by":"other","uuid":"e1","plugs":{"p9":{"topic":"p9","label":null}}}',
    "site/evse/other/p9/power": b"1",
    "there/bridge/info": b'{"name":"evse-mqtt-bridge","client_id":"other","base_topic":"there","discovery":null}',
    "there/e1/info": b'{"published_by":"me","uuid":"e1","plugs":{},"discovery":null}',
    "ha/sensor/evse_other/power/config": b"{}",
    "ha/status": b"online",
}


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    topics = Topics(draw(st.sampled_from(["evse", "evse", "site/evse"])))
    aliases = draw(st.permutations(["", "", "x", "y"]))
    plugs: st.SearchStrategy[dict[str, str]] = st.sampled_from(
        [{}, {"p1": "left"}, {"p1": "right", "p2": "left"}, {"p2": "left"}, {"p1": "p2"}, {"p1": "p2", "p2": "left"}]
    )
    stations = {
        uuid: Station(uuid, 30, draw(st.sampled_from(["", "Garage"])), alias, draw(plugs))
        for uuid, alias in zip(_STATIONS, aliases, strict=False)
        if draw(st.sampled_from([True, True, True, False]))
    }
    discoveries: list[tuple[str, Any]] = [("ha", "entity"), ("ha", "device"), ("ha2", "entity")]
    prefix, form = draw(st.sampled_from([("ha", None), *discoveries]))
    return plan(*stations.values(), form=form, prefix=prefix, base=topics.base, rules=Rules(heartbeat=0))


@dataclass(frozen=True)
class _Shape:
    """The fields of a plug in a response; the values identify the plug that they belong to."""

    status: str | None
    has_power: bool
    has_label: bool
    has_time: bool


_shapes = st.builds(
    _Shape,
    st.sampled_from(["charging", "idle", "stopped", "offline", None]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def _owner(station: str, plug: str) -> int:
    return _STATIONS.index(station) * 10 + _PLUGS.index(plug)


def _reading(station: str, plug: str, shape: _Shape, now: float) -> PlugReading:
    digit = int(now) % 10
    return PlugReading(
        plug,
        label=f"{station}/{plug}/{digit}" if shape.has_label else None,
        status=shape.status,
        power=float(_owner(station, plug) * 10 + digit) if shape.has_power else None,
        time=(NOW + timedelta(seconds=int(now))).replace(microsecond=_owner(station, plug)) if shape.has_time else None,
    )


def _is_of(station: str, plug: str, field: str, payload: bytes) -> bool:
    text = payload.decode()
    match field:
        case "label":
            return text.startswith(f"{station}/{plug}/")
        case "power":
            return int(text) // 10 == _owner(station, plug)
        case "time":
            return text.endswith(f"{_owner(station, plug):06}Z") or (
                not _owner(station, plug) and text.endswith("000Z")
            )
    return True


class PublicationAndBroker(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker(_FOREIGN)
        self.now = 0.0
        self.window = 0
        self.pending_plans = 1
        self.was_interrupted = False

    @initialize(first=_plans(), window=st.sampled_from([0, 0, 1, 20]))
    def start(self, first: Plan, window: int) -> None:
        self.window = window
        self.bridge = Bridge(first)
        self.broker.connect(self.bridge.publication)

    @rule(
        index=st.integers(0, 2),
        shapes=st.tuples(_shapes, _shapes | st.sampled_from(["lacks", "wrong"])).flatmap(st.permutations),
        wait=st.sampled_from([1.0, 30.0, 30.0, FORGET_AFTER]),
        delivered=st.integers(0, 40),
    )
    def answer(self, index: int, shapes: list[_Shape | str], wait: float, delivered: int) -> None:
        """Complete a poll of a station after some pending messages were delivered."""
        self.broker.deliver(delivered)
        answered = dict(zip(_PLUGS, shapes, strict=True))
        wrong = frozenset(plug for plug, shape in answered.items() if shape == "wrong")
        self.now += wait
        for station in self._one_station(index):
            plugs = [
                _reading(station, plug, shape, self.now)
                for plug, shape in answered.items()
                if isinstance(shape, _Shape)
            ]
            self._poll(station, Reading(tuple(plugs), wrong))
        # a new plug is recorded in the manifest only when the clearing of removed topics is done
        self.pending_plans += bool(self.pending_plans and self.bridge.publication.deferred_entry_topics)

    @rule(index=st.integers(0, 2), reason=st.sampled_from(FAILURES), wait=st.sampled_from([1.0, 30.0, FORGET_AFTER]))
    def fail(self, index: int, reason: Reason, wait: float) -> None:
        self.now += wait
        for station in self._one_station(index):
            self._poll(station, Failure(reason))

    def _poll(self, station: str, outcome: Outcome) -> None:
        self.bridge.poll(station, outcome, at(self.now))
        self.broker.deliver(self.window)

    def _one_station(self, index: int) -> list[str]:
        stations = list(self.bridge.plan.stations)
        return stations[index % len(stations) :][:1] if stations else []

    @rule(other=_plans())
    def reconfigure(self, other: Plan) -> None:
        self._before_a_change()
        self.bridge.publication.reconfigured(other)
        self.broker.deliver(self.window)

    @rule(count=st.sampled_from([1, 2, 5, 10, 20, 50]))
    def deliver_some(self, count: int) -> None:
        self.broker.deliver(count)

    @rule()
    def consumer_starts(self) -> None:
        self.bridge.publication.republish()
        self.broker.deliver(self.window)

    @rule()
    def lose_the_connection(self) -> None:
        self._before_an_interruption()
        self.broker.disconnect()

    @rule()
    def reconnect(self) -> None:
        self._before_an_interruption()
        self.broker.connect(self.bridge.publication)

    @rule()
    def lose_the_connection_and_the_retained_topics(self) -> None:
        self._before_an_interruption()
        self.broker.disconnect()
        self.broker.lose_memory()

    @rule(other=_plans() | st.none())
    def restart(self, other: Plan | None) -> None:
        self._before_an_interruption()
        if other:
            self._before_a_change()
        self.broker.disconnect()
        self.bridge = Bridge(other or self.bridge.plan)
        self.broker.connect(self.bridge.publication)

    def _before_a_change(self) -> None:
        if self.was_interrupted:
            self._complete()
        self.pending_plans += 1

    def _before_an_interruption(self) -> None:
        if self.pending_plans > 1:
            self._complete()
        self.was_interrupted = self.pending_plans > 0

    def _complete(self) -> None:
        if not self.broker.connected:
            self.broker.connect(self.bridge.publication)
        self.check()

    @precondition(lambda self: self.broker.connected)
    @rule()
    def deliver_everything(self) -> None:
        self.check()

    def check(self) -> None:
        """Deliver all pending messages, and check that the retained topics match the states."""
        self.broker.deliver()
        assert self.bridge.publication.phase is Phase.LIVE
        assert not self.broker.conflicts or self.pending_plans > 1
        self.broker.conflicts.clear()
        self.pending_plans, self.was_interrupted = 0, False
        shown, expected = self.broker.own, self.bridge.everything()
        wrong = {
            topic: (shown.get(topic), payload) for topic, payload in expected.items() if shown.get(topic) != payload
        }
        assert not wrong, "the broker does not show what the bridge knows"
        rest = {topic: payload for topic, payload in shown.items() if topic not in expected}
        for station in self.bridge.plan.stations.values():
            rest = self._without_old_values(station, rest)
        note(f"left behind: {sorted(rest)}")
        assert not rest, "something is left of what was removed"
        assert {topic: self.broker.retained.get(topic) for topic in _FOREIGN} == _FOREIGN

    def _without_old_values(self, station: Station, rest: dict[str, bytes]) -> dict[str, bytes]:
        """Return the rest without old values of this station's plugs, which must be their own."""
        none: tuple[Location, ...] = ()
        entry = StationEntry.of(self.bridge.plan.topics, station, self.bridge.state(station.uuid), none)
        for plug, topic_id in entry.plugs.items():
            prefix = entry.topics.plug(entry.topic_id, topic_id)
            for topic in [topic for topic in rest if topic.startswith(prefix)]:
                assert _is_of(station.uuid, plug, topic.removeprefix(prefix), rest[topic]), f"{topic}: another plug's"
        known = {topic for location in self.bridge.plan.locations for topic in entry.topics_at(location)}
        return {topic: payload for topic, payload in rest.items() if topic not in known}

    def teardown(self) -> None:
        if hasattr(self, "bridge"):
            self._complete()


TestPublicationAndBroker = PublicationAndBroker.TestCase
TestPublicationAndBroker.settings = settings(max_examples=80, stateful_step_count=25)
