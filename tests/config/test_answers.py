"""The first configuration file contains the answers and explains every setting."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.config.answers import Answers, BrokerAnswers, StationAnswers, render_answers, value_error
from evse_mqtt_bridge.config.load import parse
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, settings
from evse_mqtt_bridge.config.value_types import is_line

LINES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(is_line)
AWKWARD = st.sampled_from(['"', "\\", "'", '"""', "#", "a # b", "\\u0041", "ä\u2028é", "[x]", " = ", "\u202e", "😀"])
IDS = st.text("abcXYZ019_-", min_size=1, max_size=64)
PLUGS = st.sets(IDS.map(lambda id_: id_[:40]), max_size=3)
TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
NAMES = LINES | AWKWARD
ALIASES = st.lists(st.text("abcäß中0_-", min_size=1, max_size=20) | st.just(""), max_size=3, unique=True)
PLUG_NAMES = st.dictionaries(IDS, NAMES.filter(bool), max_size=3)
HOSTS = st.sampled_from(["localhost", "::1", "my_broker.example.com"])
PORTS = st.none() | st.integers(1, 65535)
URLS = st.sampled_from(["", "http://127.0.0.1:8080", "https://bücher.example"])
INTERVALS = st.none() | st.integers(1, 1199) | st.floats(1, 1199)


@st.composite
def any_answers(draw: st.DrawFn) -> Answers:
    username = draw(NAMES)
    broker = BrokerAnswers(
        host=draw(HOSTS),
        port=draw(PORTS),
        tls=draw(st.booleans()),
        username=username,
        password=draw(NAMES) if username else "",
    )
    stations = [
        StationAnswers(
            draw(IDS),
            f"{draw(IDS)[:40]}-{number}",
            draw(TOKENS),
            name=draw(NAMES),
            alias=alias,
            plugs={f"{uuid}-{number}": f"{uuid}-alias" for uuid in draw(PLUGS)},
            plug_names=draw(PLUG_NAMES),
        )
        for number, alias in enumerate(draw(ALIASES))
    ]
    return Answers(
        broker,
        stations,
        base_url=draw(URLS),
        interval=draw(INTERVALS),
        homeassistant=draw(st.none() | st.booleans()),
    )


@given(any_answers())
def test_render_answers_sets_every_answer(answers: Answers) -> None:
    config = parse(render_answers(answers), Path("config.toml"), {}).config
    broker, mqtt, default = answers.broker, config.mqtt, Config.model_validate({"mqtt": {"host": "h"}})
    assert (mqtt.host, mqtt.port, mqtt.username) == (broker.host, broker.port, broker.username)
    assert (mqtt.password.get_secret_value() if mqtt.password else "") == broker.password
    assert (mqtt.tls is not None) == broker.tls
    assert config.cloud.base_url == (answers.base_url or default.cloud.base_url)
    interval, discovered = answers.interval, answers.homeassistant
    assert config.polling.interval == (default.polling.interval if interval is None else interval)
    assert config.homeassistant.enabled == (True if discovered is None else discovered)
    assert [
        (item.edge_device_id, item.uuid, item.token.get_secret_value(), item.name, item.alias)
        for item in config.stations
    ] == [(item.edge_device_id, item.uuid, item.token, item.name, item.alias) for item in answers.stations]
    assert [(item.plugs, item.plug_names) for item in config.stations] == [
        (item.plugs, item.plug_names) for item in answers.stations
    ]
    rest = config.model_copy(
        update={"mqtt": default.mqtt, "stations": (), "cloud": default.cloud, "polling": default.polling}
    )
    assert rest.model_copy(update={"homeassistant": default.homeassistant}) == default


@given(any_answers())
def test_render_answers_lists_every_setting_once(answers: Answers) -> None:
    text = render_answers(answers)
    explained = text.split("\n[[stations]]\n")[0]
    for setting in settings():
        if setting.section is None and setting.path[-1] != EACH:
            assert setting.description.split()[0] in explained
    written = re.findall(r"^#?([a-z_]+) = ", explained, re.MULTILINE)
    assert written == [
        str(setting.path[-1]) for setting in settings() if setting.section is None and setting.path[-1] != EACH
    ]


@given(any_answers())
def test_render_answers_comments_are_valid_settings(answers: Answers) -> None:
    """Every commented setting is valid TOML, whatever values surround it."""
    for line in render_answers(answers).splitlines():
        if re.match(r"#[a-z\[]", line):
            tomllib.loads(line[1:])


def test_render_answers_keeps_file_paths() -> None:
    broker = BrokerAnswers("h", tls=True, ca_file="ca.pem", cert_file="c.pem", key_file="c.key", password_file="p")
    station = StationAnswers("1", "a", token_file="north.token")
    tables = tomllib.loads(render_answers(Answers(broker, [station], cloud_ca_file="/x/ca.pem")))
    assert tables["mqtt"] == {
        "host": "h",
        "password_file": "p",
        "tls": {"ca_file": "ca.pem", "cert_file": "c.pem", "key_file": "c.key"},
    }
    assert tables["cloud"] == {"ca_file": "/x/ca.pem"}
    assert tables["stations"] == [{"edge_device_id": "1", "uuid": "a", "token_file": "north.token"}]


def test_answers_repr_contains_no_secret() -> None:
    text = repr(Answers(BrokerAnswers("h", password="s3cret"), [StationAnswers("1", "a", "s3cret")]))
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (("mqtt", "host"), "broker.example.com", None),
        (("mqtt", "host"), "a b", 'expected a host name or IP address, without "mqtt://"'),
        (("mqtt", "port"), 0, "expected a whole number from 1 to 65535"),
        (("mqtt", "tls", "ca_file"), "a\n", "expected a file path"),
        (("stations", EACH, "uuid"), "", "expected 1 to 64 of the characters"),
        (("stations", EACH, "token"), "s3cret\x7f", "expected 1 to 4096 visible ASCII characters"),
        (("stations", EACH, "alias"), "", None),
        (("polling", "interval"), float("nan"), "expected a number from 1 to 86400"),
    ],
)
def test_value_error_with_value_returns_expectation(path: KeyPath, value: object, error: str | None) -> None:
    actual = value_error(path, value)
    assert actual is None if error is None else actual is not None and actual.startswith(error)
    assert "s3cret" not in (actual or "")
