"""The plan of a reload: the components that a change affects, and their order. Needs no event loop."""

from itertools import pairwise
from typing import Any

import pytest

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.service.reload_plan import Action, ComponentName, ReloadPlan

_FIRST, _SECOND = "a" * 32, "b" * 32


def _station(uuid: str, **changed: object) -> dict[str, Any]:
    return {"edge_device_id": "edge-1", "uuid": uuid, "token": f"token-{uuid}", **changed}


_OLD = {"mqtt": {"host": "broker.test"}, "stations": [_station(_FIRST), _station(_SECOND)]}


def _plan(**changed: object) -> ReloadPlan:
    return ReloadPlan.between(Config.model_validate(_OLD), Config.model_validate({**_OLD, **changed}))


def _steps(plan: ReloadPlan) -> list[str]:
    return [str(step) for step in plan.steps]


_PUBLISH_AND_POLL = ["reconfigure publishing", "reconfigure polling"]
_REPLACE_CLIENT = [
    "prepare polling",
    "stop polling",
    "reconfigure polling",
    "start polling",
]
_REPLACE_SESSION = [
    "prepare publishing",
    "stop publishing",
    "reconfigure publishing",
    "start publishing",
]

_EVERYTHING = {
    "log": {"level": "debug"},
    "cloud": {"timeout": 5},
    "mqtt": {"host": "other.test"},
    "http": {"port": 9481},
    "polling": {"interval": 5},
    "homeassistant": {"enabled": False},
    "history": {"enabled": False},
    "stations": [_station(_FIRST)],
}


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"log": {"level": "debug"}}, ["reconfigure logging"], id="log level"),
        pytest.param({"log": {"format": "json"}}, ["reconfigure logging"], id="log format"),
        pytest.param(
            {"history": {"enabled": False}},
            ["stop recording", "reconfigure recording", "reconfigure history reader", "start recording"],
            id="history",
        ),
        pytest.param({"cloud": {"timeout": 5}}, _REPLACE_CLIENT, id="cloud, same base_url"),
        pytest.param({"cloud": {"base_url": "https://other.test"}}, _REPLACE_CLIENT, id="cloud, other base_url"),
        pytest.param({"cloud": {"max_concurrency": 2}}, _REPLACE_CLIENT, id="cloud, other limits"),
        pytest.param({"mqtt": {"host": "other.test"}}, _REPLACE_SESSION, id="mqtt, other broker"),
        pytest.param({"mqtt": {"host": "broker.test", "qos": 2}}, _REPLACE_SESSION, id="mqtt, same broker"),
        pytest.param({"mqtt": {"host": "broker.test", "base_topic": "site"}}, _REPLACE_SESSION, id="mqtt, topics"),
        pytest.param(
            {"http": {"port": 9481}},
            ["stop web server", "reconfigure publishing", "reconfigure web server", "start web server"],
            id="http, other port",
        ),
        pytest.param(
            {"http": {"enabled": False}},
            ["stop web server", "reconfigure publishing", "reconfigure web server", "start web server"],
            id="http, disabled",
        ),
        pytest.param({"polling": {"interval": 5}}, _PUBLISH_AND_POLL, id="polling interval"),
        pytest.param({"polling": {"stale_after": 5}}, _PUBLISH_AND_POLL, id="availability rules"),
        pytest.param({"homeassistant": {"enabled": False}}, ["reconfigure publishing"], id="homeassistant disabled"),
        pytest.param(
            {"homeassistant": {"discovery_prefix": "ha"}}, ["reconfigure publishing"], id="homeassistant prefix"
        ),
        pytest.param({"stations": [_station(_FIRST)]}, _PUBLISH_AND_POLL, id="station removed"),
        pytest.param(
            {"stations": [*_OLD["stations"], _station("c" * 32)]},
            _PUBLISH_AND_POLL,
            id="station added",
        ),
        pytest.param(
            {"stations": [_station(_FIRST, token="other"), _station(_SECOND)]},
            _PUBLISH_AND_POLL,
            id="token changed",
        ),
        pytest.param(
            {"cloud": {"timeout": 5}, "mqtt": {"host": "other.test"}},
            [
                "prepare publishing",
                "prepare polling",
                "stop polling",
                "stop publishing",
                "reconfigure publishing",
                "reconfigure polling",
                "start publishing",
                "start polling",
            ],
            id="cloud and mqtt",
        ),
        pytest.param(
            _EVERYTHING,
            [
                "prepare publishing",
                "prepare polling",
                "reconfigure logging",
                "stop polling",
                "stop publishing",
                "stop web server",
                "stop recording",
                "reconfigure recording",
                "reconfigure history reader",
                "start recording",
                "reconfigure publishing",
                "reconfigure polling",
                "reconfigure web server",
                "start publishing",
                "start polling",
                "start web server",
            ],
            id="everything",
        ),
    ],
)
def test_between_changed_sections_lists_steps_in_order(changed: dict[str, Any], steps: list[str]) -> None:
    assert _steps(_plan(**changed)) == steps


@pytest.mark.parametrize(
    ("stations", "removed"),
    [
        ([_station(_FIRST), _station(_SECOND)], set()),
        ([_station(_SECOND), _station(_FIRST)], set()),
        ([_station(_FIRST, alias="north"), _station(_SECOND)], set()),
        ([_station(_FIRST), _station("c" * 32)], {_SECOND}),
        ([], {_FIRST, _SECOND}),
    ],
    ids=["same", "other order", "renamed", "replaced", "all removed"],
)
def test_between_removed_stations_names_them(stations: list[dict[str, Any]], removed: set[str]) -> None:
    assert _plan(stations=stations).removed == removed


@pytest.mark.parametrize(
    ("stations", "added", "changed"),
    [
        ([_station(_FIRST), _station(_SECOND)], set(), set()),
        ([_station(_SECOND), _station(_FIRST)], set(), set()),
        ([_station(_FIRST, name="New"), _station(_SECOND)], set(), {_FIRST}),
        ([_station(_FIRST, token="new"), _station(_SECOND, alias="north")], set(), {_FIRST, _SECOND}),
        ([_station(_FIRST), _station("c" * 32)], {"c" * 32}, set()),
    ],
    ids=["same", "other order", "renamed", "token and alias", "replaced"],
)
def test_between_names_added_and_changed_stations(
    stations: list[dict[str, Any]], added: set[str], changed: set[str]
) -> None:
    plan = _plan(stations=stations)
    assert plan.added == added
    assert plan.changed == changed


def test_between_renewed_file_acts_like_a_changed_section() -> None:
    config = Config.model_validate(_OLD)
    assert _steps(ReloadPlan.between(config, config, frozenset({"cloud"}))) == _REPLACE_CLIENT
    assert _steps(ReloadPlan.between(config, config)) == []


def test_every_section_of_the_configuration_has_a_step() -> None:
    covered = frozenset[str]().union(*(step.sections for step in _plan(**_EVERYTHING).steps))
    assert covered == Config.model_fields.keys()


def test_every_step_has_its_own_reason() -> None:
    reasons = [step.reason for step in _plan(**_EVERYTHING).steps]
    assert all(reason.endswith(".") for reason in reasons)
    assert len(set(reasons)) == len(reasons)


def test_only_preparation_precedes_the_first_change() -> None:
    actions = [step.action for step in _plan(**_EVERYTHING).steps]
    last_prepare = max(index for index, action in enumerate(actions) if action is Action.PREPARE)
    assert set(actions[: last_prepare + 1]) == {Action.PREPARE}


def test_stations_change_everywhere_without_a_pause() -> None:
    """A stop or a start between the two would let a poll complete for a station that only one component has."""
    steps = _steps(_plan(**_EVERYTHING))
    assert ("reconfigure publishing", "reconfigure polling") in pairwise(steps)


@pytest.mark.parametrize("component", [ComponentName.POLLING, ComponentName.PUBLISHING, ComponentName.WEB_SERVER])
def test_stopped_component_is_reconfigured_then_started(component: ComponentName) -> None:
    actions = [step.action for step in _plan(**_EVERYTHING).steps if step.component is component]
    assert [action for action in actions if action is not Action.PREPARE] == [
        Action.STOP,
        Action.RECONFIGURE,
        Action.START,
    ]


def test_between_with_a_fleet_pauses_the_membership() -> None:
    """No shard may begin or end while the shards change."""
    fleet = {"fleet": {"engine": "etcd", "endpoints": ["http://127.0.0.1:2379"]}}
    old = Config.model_validate({**_OLD, **fleet})
    new = Config.model_validate({**_OLD, **fleet, "stations": [_station(_FIRST)]})
    assert _steps(ReloadPlan.between(old, new)) == [
        "stop membership",
        "reconfigure membership",
        *_PUBLISH_AND_POLL,
        "start membership",
    ]
