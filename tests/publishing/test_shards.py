"""Shards: publications that share the stations of a configuration, and one broker."""

import json
import random
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from evse_mqtt_bridge.config.plan import Plans, ownership, publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.shards import Claim, Share, shard_of
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.orphans import orphans
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.publishing.renderer import Renderer
from evse_mqtt_bridge.publishing.topic_transfer import needs_manifest
from tests.harness.samples import NOW, at, plug_reading, reading
from tests.publishing.model_broker import ModelBroker

_UUIDS = ("e0", "e1", "e2", "e3")
_ALIASES = ("a", "b", "c")


class Fleet:
    """The shards of a configuration; every station has answered."""

    def __init__(self, config: Config, retained: dict[str, bytes]) -> None:
        self.config = config
        plans, shards = Plans(config), config.fleet.shards if config.fleet else 0
        shares = [Share(number, shards) for number in range(shards)] or [Share()]
        claims = [Claim(share.number, "member") if shards else None for share in shares]
        self.plans = [plans.shard(share, claim) for share, claim in zip(shares, claims, strict=True)]
        joint = publishing_plan(config)
        self.stations = Stations(joint.stations, joint.rules, started=0.0)
        self.publications = [Publication(plan, self.stations, NOW) for plan in self.plans]
        self.brokers = [ModelBroker() for _ in self.plans]
        for broker in self.brokers:
            broker.retained = retained

    def run(self, order: Sequence[int], moment: Moment) -> None:
        """Connect the shards that are not connected, in an order, poll every station, and publish everything."""
        for number in order:
            if not self.brokers[number].connected:
                self.brokers[number].connect(self.publications[number])
            self.brokers[number].deliver()
        for uuid, station in self.stations.all.items():
            event = self.stations.apply_outcome(uuid, reading(plug_reading(f"p-{uuid}")), moment, 0.1)
            number = shard_of(uuid, len(self.plans)) if len(self.plans) > 1 else 0
            self.publications[number].station_changed(station, event.old, event.new)
        for broker in (*self.brokers, self.brokers[0]):
            broker.deliver()
        self.brokers[0].connect(self.publications[0])  # it clears what it left for other shards to find
        self.brokers[0].deliver()

    def reload(self, config: Config) -> None:
        """Switch to a configuration with the same number of shards and the same base topic."""
        plans = Plans(config)
        for number, (plan, publication) in enumerate(zip(self.plans, self.publications, strict=True)):
            new = plans.shard(plan.share, plan.claim)
            is_reread, broker = needs_manifest(plan, new), self.brokers[number]
            if is_reread:
                broker.disconnect()
            publication.reconfigured(new)
            if is_reread:
                broker.connect(publication)
            self.plans[number] = new
            broker.deliver()

    def stop(self) -> None:
        for broker in self.brokers:
            broker.stop()

    def everything(self) -> dict[str, bytes]:
        """Return what the broker retains once nothing is pending."""
        renderers = (Renderer(plan, self.stations, NOW) for plan in self.plans)
        return {message.topic: message.payload for renderer in renderers for message in renderer.everything()}


def test_topics_stay_while_clearing_is_not_allowed() -> None:
    """A removed station, and another form of discovery, which has stages."""
    retained: dict[str, bytes] = {}
    both = Fleet(_config({"e0": "", "e1": ""}, 1), retained)
    both.run([0], at(0))
    before = dict(retained)
    publication, broker = both.publications[0], both.brokers[0]
    publication.allow_clearing(is_allowed=False)
    both.reload(_config({"e0": ""}, 1, "device"))
    assert before.keys() <= retained.keys()
    publication.allow_clearing(is_allowed=True)
    broker.deliver()
    assert retained == both.everything()


def test_topics_stay_if_clearing_is_not_allowed_at_connect() -> None:
    retained: dict[str, bytes] = {}
    Fleet(_config({"e0": "", "e1": ""}, 1), retained).run([0], at(0))
    before = set(retained)
    other = Fleet(_config({"e0": ""}, 1), retained)
    other.publications[0].allow_clearing(is_allowed=False)
    other.run([0], at(60))
    assert before <= set(retained)
    assert "previous" not in str(retained["evse/e0/info"])
    other.publications[0].allow_clearing(is_allowed=True)
    other.brokers[0].deliver()
    assert retained == other.everything()


def _config(
    stations: Mapping[str, str], shards: int = 0, form: str = "entity", base: str = "evse", client_id: str = "me"
) -> Config:
    """Return a configuration with these stations: alias by uuid."""
    tables = {
        "mqtt": {"host": "broker.test", "base_topic": base, "client_id": client_id},
        "homeassistant": {"discovery": form},
        "stations": [
            {"edge_device_id": "1", "uuid": uuid, "token": "t", "alias": alias} for uuid, alias in stations.items()
        ],
    }
    fleet = {"fleet": {"engine": "static", "shards": shards, "share": "0/1"}} if shards else {}
    return Config.model_validate({**tables, **fleet})


_CONFIGS = st.builds(
    lambda uuids, aliases, shards, form, base: _config(
        dict(zip(uuids, [*aliases, "", "", "", ""], strict=False)), shards, form, base
    ),
    st.lists(st.sampled_from(_UUIDS), unique=True, min_size=1),
    st.lists(st.sampled_from(_ALIASES), unique=True),
    st.sampled_from([0, 1, 3, 3]),
    st.sampled_from(["entity", "device"]),
    st.sampled_from(["evse", "evse", "site/evse"]),
)


_FORGED_BRIDGE = {"name": "evse-mqtt-bridge", "client_id": "me", "base_topic": "myapp", "shards": 3, "discovery": None}
_FORGED_STATION = {
    "published_by": "me",
    "plugs": {"ghost": {"topic": "g", "label": None}},
    "discovery": {"prefix": "homeassistant", "form": "entity"},
}
_FORGED = {
    "myapp/bridge/info": json.dumps(_FORGED_BRIDGE).encode(),
    **{f"myapp/{uuid}/info": json.dumps({"uuid": uuid, **_FORGED_STATION}).encode() for uuid in _UUIDS},
}
"""Entries that a client forged which may only write below `myapp/`."""


@settings(max_examples=40)
@given(st.lists(_CONFIGS, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_any_change_of_shards_leaves_exactly_what_is_configured(configs: list[Config], chance: random.Random) -> None:
    retained: dict[str, bytes] = {}
    fleet = None
    for number, config in enumerate(configs):
        retained |= _FORGED
        is_same = fleet and (fleet.config.fleet, fleet.config.mqtt) == (config.fleet, config.mqtt)
        if fleet and is_same and chance.random() < 0.5:
            fleet.reload(config)
        else:
            if fleet:
                fleet.stop()
            fleet = Fleet(config, retained)
        order = list(range(len(fleet.plans)))
        chance.shuffle(order)
        fleet.run(order, at(number * 60))
        rest = {topic: payload for topic, payload in retained.items() if not topic.startswith("myapp/")}
        assert rest == fleet.everything(), f"{config.fleet} {config.stations}"
        assert not orphans(retained, ownership(config))
