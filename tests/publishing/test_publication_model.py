"""Whatever happens, in whatever order: in the end the broker holds what the bridge knows, and nothing of what went.

Polls, other configurations, connections lost in mid-sentence, brokers that forget and bridges that are started again,
against a model of the broker. What may stand there besides the whole picture is the last payload of a value that went,
or of a plug that an earlier life knew, and only on topics of that very plug.

What is not promised: that all is cleaned up when a change of the configuration is interrupted twice, by another change
and by a lost connection or the end of the process, since the one `info` of a station cannot tell of both; and that no
device is seen in both forms of discovery when a change is overtaken by another one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.model import Failure, PlugReading, Reading, Reason, Station
from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import FAILURES, NOW, at
from tests.publishing.model_broker import ModelBroker

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
    places: list[tuple[str, Any]] = [("ha", "entity"), ("ha", "device"), ("ha2", "entity")]
    place = draw(st.sampled_from([None, *places]))
    discovery = Discovery(topics, place[0], place[1], 1, "me", "1") if place else None
    return Plan(topics, "me", stations, Rules(heartbeat=0), discovery)


@dataclass(frozen=True)
class _Shape:
    """What an answer has to say of a plug; the values themselves tell whose they are."""

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
    turn = int(now) % 10
    return PlugReading(
        plug,
        label=f"{station}/{plug}/{turn}" if shape.has_label else None,
        status=shape.status,
        power=float(_owner(station, plug) * 10 + turn) if shape.has_power else None,
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


class BridgeAndBroker(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ModelBroker(_FOREIGN)
        self.now = 0.0
        self.unsettled_plans = 1
        self.was_interrupted = False

    @initialize(plan=_plans(), window=st.sampled_from([0, 0, 1, 20]))
    def start(self, plan: Plan, window: int) -> None:
        self.broker.window = window
        self.bridge = Bridge(plan, NOW)
        self.broker.connect(self.bridge)

    @rule(
        index=st.integers(0, 2),
        shapes=st.tuples(_shapes, _shapes | st.sampled_from(["lacks", "wrong"])).flatmap(st.permutations),
        wait=st.sampled_from([1.0, 30.0, 30.0, FORGET_AFTER]),
        delivered=st.integers(0, 40),
    )
    def reading(self, index: int, shapes: list[_Shape | str], wait: float, delivered: int) -> None:
        """A station answers, when some of what waits has been delivered."""
        self.broker.deliver(delivered)
        told = dict(zip(_PLUGS, shapes, strict=True))
        wrong = frozenset(plug for plug, shape in told.items() if shape == "wrong")
        self.now += wait
        for station in self._one_of_the_stations(index):
            plugs = [
                _reading(station, plug, shape, self.now) for plug, shape in told.items() if isinstance(shape, _Shape)
            ]
            self.bridge.take(station, Reading(tuple(plugs), wrong), at(self.now), self.broker)
        self.unsettled_plans += bool(
            self.unsettled_plans and self.bridge._late
        )  # a new plug is recorded only when what went is cleared

    @rule(index=st.integers(0, 2), reason=st.sampled_from(FAILURES), wait=st.sampled_from([1.0, 30.0, FORGET_AFTER]))
    def fail(self, index: int, reason: Reason, wait: float) -> None:
        self.now += wait
        for station in self._one_of_the_stations(index):
            self.bridge.take(station, Failure(reason), at(self.now), self.broker)

    def _one_of_the_stations(self, index: int) -> list[str]:
        stations = list(self.bridge.plan.stations)
        return stations[index % len(stations) :][:1] if stations else []

    @rule(plan=_plans())
    def apply(self, plan: Plan) -> None:
        self._before_a_change()
        self.bridge.apply(plan, self.broker)

    @rule(count=st.sampled_from([1, 2, 5, 10, 20, 50]))
    def deliver_some(self, count: int) -> None:
        self.broker.deliver(count)

    @rule()
    def a_consumer_starts(self) -> None:
        self.broker.repeat()

    @rule()
    def lose_the_connection(self) -> None:
        self._before_an_interruption()
        self.broker.disconnect()

    @rule()
    def connect_again(self) -> None:
        self._before_an_interruption()
        self.broker.connect(self.bridge)

    @rule()
    def lose_the_connection_and_the_brokers_memory(self) -> None:
        self._before_an_interruption()
        self.broker.disconnect()
        self.broker.forget()

    @rule(plan=_plans() | st.none())
    def start_again(self, plan: Plan | None) -> None:
        self._before_an_interruption()
        if plan:
            self._before_a_change()
        self.broker.disconnect()
        self.bridge = Bridge(plan or self.bridge.plan, NOW)
        self.broker.connect(self.bridge)

    def _before_a_change(self) -> None:
        if self.was_interrupted:
            self._settle_if_need_be()
        self.unsettled_plans += 1

    def _before_an_interruption(self) -> None:
        if self.unsettled_plans > 1:
            self._settle_if_need_be()
        self.was_interrupted = self.unsettled_plans > 0

    def _settle_if_need_be(self) -> None:
        if not self.broker.connected:
            self.broker.connect(self.bridge)
        self.settle()

    @precondition(lambda self: self.broker.connected)
    @rule()
    def all_is_delivered(self) -> None:
        self.settle()

    def settle(self) -> None:
        """All that waits is delivered: the broker shows what the bridge knows."""
        self.broker.deliver()
        assert not self.broker.conflicts or self.unsettled_plans > 1
        self.broker.conflicts.clear()
        self.unsettled_plans, self.was_interrupted = 0, False
        held = self.broker.ours
        fresh = Bridge(self.bridge.plan, NOW)
        fresh._states = self.bridge._states
        whole = {message.topic: message.payload for message in fresh.whole()}
        wrong = {topic: (held.get(topic), payload) for topic, payload in whole.items() if held.get(topic) != payload}
        assert not wrong, "the broker does not show what the bridge knows"
        kept = {topic: payload for topic, payload in held.items() if topic not in whole}
        for station in self.bridge.plan.stations.values():
            state = self.bridge.state(station.uuid)
            entry = StationEntry.of(self.bridge.plan.topics, station, state, None)
            for plug, topic_id in entry.plugs.items():
                prefix = entry.topics.plug(entry.topic_id, topic_id)
                for topic in [topic for topic in kept if topic.startswith(prefix)]:
                    assert _is_of(station.uuid, plug, topic.removeprefix(prefix), held[topic]), f"{topic}: another's"
            kept = {topic: payload for topic, payload in kept.items() if topic not in entry.all_topics()}
        note(f"left over: {sorted(kept)}")
        assert not kept, "something is left of what went"
        assert {topic: self.broker.retained.get(topic) for topic in _FOREIGN} == _FOREIGN

    def teardown(self) -> None:
        if hasattr(self, "bridge"):
            self._settle_if_need_be()


TestBridgeAndBroker = BridgeAndBroker.TestCase
TestBridgeAndBroker.settings = settings(max_examples=80, stateful_step_count=25)
