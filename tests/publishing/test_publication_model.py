"""After any sequence of events, the broker retains exactly the topics of the current states.

Polls, other configurations, lost connections, kills and stops of the bridge in any phase and at any message, several in
a row, and brokers that lose their retained messages drive the real Publication against a model of the broker that only
stores topics. In addition to the topics of a full republish, the broker may retain the last payload of a value that is
no longer known, or of a plug of a previous run, but only on topics of the same plug, and what another live bridge
claims. Another client forges entries of the bridge below a base topic of its own. The bridge may clear them, but they
change nothing else.

At any time, an entry on the broker records each topic. Exception: the will, or `offline`, may come before the bridge
has read its own `info`; see publishing/publication.py. The model completes that step before it ends the process, and
reads the manifest before it changes the client id.

More examples than in every test run: `PUBLICATION_EXAMPLES=10000 pytest tests/publishing/test_publication_model.py`.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, Reading, Reason, Station
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Phase
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import FAILURES, NOW, at
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

if TYPE_CHECKING:
    from evse_mqtt_bridge.publishing.outputs.protocol import Location

_EXAMPLES = int(os.environ.get("PUBLICATION_EXAMPLES", "80"))
_CLIENT_IDS = ("me", "me-2")
_BASES = ("evse", "site/evse", "b")
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
    "rival/bridge/info": b'{"name":"evse-mqtt-bridge","client_id":"rival","base_topic":"rival","discovery":null}',
    "rival/bridge/availability": b"online",
    "rival/x/info": (
        b'{"uuid":"e3","published_by":"rival","plugs":{"p1":{"topic":"p1","label":null}},'
        b'"discovery":{"prefix":"ha","form":"entity"}}'
    ),
}
_FORGED = {
    "myapp/bridge/info": (
        b'{"name":"evse-mqtt-bridge","client_id":"%s","base_topic":"myapp","discovery":{"prefix":"ha","form":"entity"},'
        b'"previous":[{"client_id":"me","base_topic":"there"},{"client_id":"me-2","base_topic":"rival"}]}'
    ),
    "myapp/x/info": (
        b'{"uuid":"e1","published_by":"%s","plugs":{"p1":{"topic":"p1","label":null},"ghost":{"topic":"g","label":null}},'
        b'"discovery":{"prefix":"ha","form":"entity"}}'
    ),
    "myapp/x/p1/power": b"1",
}
_CLAIMED = frozenset(DiscoveryLocation("ha", "entity").station_topics("e3", "x", {"p1": "p1"}))
"""The topics that another live bridge claims. They are not cleared once this is known."""


class _MakePlan(Protocol):
    """Returns a plan for a client id, and for another base topic than the drawn one."""

    def __call__(self, client_id: str, base: str | None = None) -> Plan: ...


@st.composite
def _plans(draw: st.DrawFn) -> _MakePlan:
    drawn_base = draw(st.sampled_from([_BASES[0], *_BASES]))
    aliases = draw(st.permutations(["", "", "x", "y"]))
    plugs: st.SearchStrategy[dict[str, str]] = st.sampled_from(
        [{}, {"p1": "left"}, {"p1": "right", "p2": "left"}, {"p2": "left"}, {"p1": "p2"}, {"p1": "p2", "p2": "left"}]
    )
    stations = [
        Station(uuid, 30, draw(st.sampled_from(["", "Garage"])), alias, draw(plugs))
        for uuid, alias in zip(_STATIONS, aliases, strict=False)
        if draw(st.sampled_from([True, True, True, False]))
    ]
    discoveries: list[tuple[str, Any]] = [("ha", "entity"), ("ha", "device"), ("ha2", "entity")]
    prefix, form = draw(st.sampled_from([("ha", None), *discoveries]))
    rules = Rules(heartbeat=0)

    def make(client_id: str, base: str | None = None) -> Plan:
        return plan(*stations, form=form, prefix=prefix, base=base or drawn_base, client_id=client_id, rules=rules)

    return make


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
        self.broker = ModelBroker(_FOREIGN, _CLAIMED, "myapp/")
        self.now = 0.0
        self.window = 0

    @initialize(first=_plans(), window=st.sampled_from([0, 0, 1, 20]))
    def start(self, first: _MakePlan, window: int) -> None:
        self.window = window
        self.bridge = Bridge(first("me"))
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
    def reconfigure(self, other: _MakePlan) -> None:
        present = self.bridge.plan
        self.bridge.publication.reconfigured(other(present.client_id, present.topics.base))
        self.broker.deliver(self.window)

    @rule(other=_plans(), client_id=st.sampled_from(_CLIENT_IDS))
    def reconfigure_the_connection(self, other: _MakePlan, client_id: str) -> None:
        if client_id != self.bridge.plan.client_id or self._has_other_client_ids():
            self._clear_forged_entries()
            self._read_the_manifest()
        self.broker.stop()
        self.bridge.publication.reconfigured(other(client_id))
        self.broker.connect(self.bridge.publication, is_restored=False)

    def _read_the_manifest(self) -> None:
        if not self.broker.connected:
            self.broker.connect(self.bridge.publication)
        while self.bridge.publication.phase is Phase.RESTORING:
            self.broker.restore()

    @rule(count=st.sampled_from([1, 2, 5, 10, 20, 50]))
    def deliver_some(self, count: int) -> None:
        self.broker.deliver(count)

    @rule()
    def forge_entries(self) -> None:
        for topic, payload in _FORGED.items():
            self.broker.retained[topic] = payload.replace(b"%s", self.bridge.plan.client_id.encode())

    def _clear_forged_entries(self) -> None:
        """With another client id, they would be those of another bridge, which claims discovery topics."""
        for topic in _FORGED:
            self.broker.retained.pop(topic, None)

    @rule()
    def consumer_starts(self) -> None:
        self.bridge.publication.republish()
        self.broker.deliver(self.window)

    @rule()
    def lose_the_connection(self) -> None:
        self.broker.lose_connection()

    @rule(is_restored=st.booleans())
    def reconnect(self, *, is_restored: bool) -> None:
        self.broker.connect(self.bridge.publication, is_restored=is_restored)

    @rule()
    def restore(self) -> None:
        self.broker.restore()

    @rule()
    def lose_the_connection_and_the_retained_topics(self) -> None:
        self.broker.disconnect()
        self.broker.lose_memory()

    @rule(other=_plans() | st.none(), is_restored=st.booleans())
    def kill_and_restart(self, other: _MakePlan | None, *, is_restored: bool) -> None:
        self._record_the_wills()
        self.broker.lose_connection()
        self._start_again(other, is_restored=is_restored)

    @rule(other=_plans() | st.none(), is_restored=st.booleans())
    def stop_and_restart(self, other: _MakePlan | None, *, is_restored: bool) -> None:
        self._record_the_wills()
        self.broker.stop()
        self._start_again(other, is_restored=is_restored)

    def _record_the_wills(self) -> None:
        """Go on until the entry of the bridge is on the broker, unless this bridge has never been connected to it."""
        while (self.broker.connected or self.broker.own) and not self._is_recorded():
            if not self.broker.connected:
                self.broker.connect(self.bridge.publication, is_restored=False)
            is_restoring = self.bridge.publication.phase is Phase.RESTORING
            self.broker.restore()
            assert self.broker.deliver(1) or is_restoring, "everything is delivered, but not the entry of the bridge"

    def _is_recorded(self) -> bool:
        """Return whether the `info` of the bridge names every client id and base topic that it has to clear."""
        plan = self.bridge.plan
        own = self._own_entries()
        left = (entry for item in self.broker.own.items() for entry in read_bridge(*item, _CLIENT_IDS)[:1])
        foreign = {(entry.topics, entry.client_id) for entry in left if entry.client_id != plan.client_id}
        return bool(own) and foreign <= {(entry.topics, entry.client_id) for entry in own} and not self._unrecorded()

    def _has_other_client_ids(self) -> bool:
        return any(entry.client_id != self.bridge.plan.client_id for entry in self._own_entries())

    def _own_entries(self) -> tuple[BridgeEntry, ...]:
        """Return the entries in the `info` of the bridge on the broker."""
        plan = self.bridge.plan
        return read_bridge(plan.topics.info, self.broker.retained.get(plan.topics.info, b""), {plan.client_id})

    def _start_again(self, other: _MakePlan | None, *, is_restored: bool) -> None:
        """Start another process; a changed client id must be cleared before the base topic changes without a reload."""
        before = self.bridge.plan
        base = before.topics.base if self._has_other_client_ids() else None
        self.bridge = Bridge(other(before.client_id, base) if other else before)
        self.broker.connect(self.bridge.publication, is_restored=is_restored)

    @invariant()
    def every_topic_is_recorded(self) -> None:
        assert not self._unrecorded() - {Topics(base).availability for base in _BASES}

    def _unrecorded(self) -> set[str]:
        """Return the topics on the broker that no entry records.

        Only the `info` under the same base topic records an availability: under a third base topic, the search may find
        another `info` that lists the entry, but the bridge does not follow it, because any client can forge it.
        """
        recorded: set[str] = set()
        for topic, payload in self.broker.own.items():
            base = Topics(topic.rsplit("/", 2)[0])
            read: list[BridgeEntry | StationEntry] = [
                *read_bridge(topic, payload, _CLIENT_IDS),
                *read_station(base, topic, payload, _CLIENT_IDS),
            ]
            for entry in read:
                elsewhere = entry.topics.availability if entry.topics != base else ""
                recorded.update(topic for topic in entry.all_topics() if topic != elsewhere)
        return self.broker.own.keys() - recorded - _CLAIMED

    @precondition(lambda self: self.broker.connected)
    @rule()
    def deliver_everything(self) -> None:
        self.check()

    def check(self) -> None:
        """Deliver all pending messages, and check that the retained topics match the states."""
        self._read_the_manifest()
        self.broker.deliver()
        assert self.bridge.publication.phase is Phase.LIVE
        assert not self.broker.conflicts
        shown, expected = self.broker.own, self.bridge.everything()
        wrong = {
            topic: (shown.get(topic), payload) for topic, payload in expected.items() if shown.get(topic) != payload
        }
        assert not wrong, "the broker does not show what the bridge knows"
        rest = {topic: payload for topic, payload in shown.items() if topic not in expected and topic not in _CLAIMED}
        for station in self.bridge.plan.stations.values():
            rest = self._without_old_values(station, rest)
        note(f"left behind: {sorted(rest)}")
        assert not rest, "something is left of what was removed"
        assert {topic: self.broker.retained.get(topic) for topic in _FOREIGN} == _FOREIGN
        assert not any("ghost" in self.bridge.state(uuid).plugs for uuid in self.bridge.plan.stations)

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
            self.check()


TestPublicationAndBroker = PublicationAndBroker.TestCase
TestPublicationAndBroker.settings = settings(max_examples=_EXAMPLES, stateful_step_count=25, report_multiple_bugs=False)
