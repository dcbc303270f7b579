"""The models of the schema accept valid values and reject others."""

from dataclasses import FrozenInstanceError

import pytest
from pydantic import SecretStr, ValidationError

from evse_mqtt_bridge.config.schema import Cloud, Config, Http, Mqtt, Polling, StationConfig, StationTable, Tls
from evse_mqtt_bridge.config.schema_index import format_path, settings

STATION = {"edge_device_id": "1", "uuid": "a", "token": "s3cret"}


def config(**station: object) -> Config:
    return Config.model_validate({"mqtt": {"host": "localhost"}, "stations": [{**STATION, **station}]})


def test_config_is_immutable() -> None:
    item = config(plugs={"p": "left"}).stations[0]
    with pytest.raises(TypeError):
        item.plugs["p"] = "right"  # type: ignore[index]  # read-only, as the test shows
    with pytest.raises(FrozenInstanceError):
        item.name = "x"  # type: ignore[misc]  # likewise
    assert isinstance(config().stations, tuple)


def test_stations_have_no_dict_and_share_their_device() -> None:
    first, second = config().stations[0], config().stations[0]
    assert not hasattr(first, "__dict__")
    assert first.edge_device_id is second.edge_device_id


def test_config_repr_contains_no_secret() -> None:
    complete = Config(mqtt=Mqtt(host="h", username="u", password=SecretStr("s3cret")), stations=config().stations)
    assert "s3cret" not in f"{complete!r} {complete!s} {complete.mqtt.model_dump()}"


def test_validation_error_contains_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        config(token="s3cret \n", name=["s3cret"])
    assert "s3cret" not in f"{caught.value!r} {caught.value!s}"


@pytest.mark.parametrize("host", ["localhost", "192.0.2.1", "::1", "2001:db8::1", "mqtt_broker.site-1"])
def test_host_with_valid_name_or_address_is_accepted(host: str) -> None:
    assert Mqtt(host=host).host == host


def test_host_in_brackets_is_accepted() -> None:
    assert Mqtt(host="[2001:db8::1]").host == "2001:db8::1"
    assert Mqtt(host="2001:db8::1").address == "[2001:db8::1]:1883"
    assert Mqtt(host="192.0.2.1", port=7).address == "192.0.2.1:7"


@pytest.mark.parametrize(
    "host",
    ["", "[]", "[h]", "[::1", "::1]", "[[::1]]", "[::1]:1883",
     "a b", "h:1883", "mqtt://h", "h/", "h\n", "h\udcff", "h" * 254],
)  # fmt: skip
def test_host_with_invalid_value_is_rejected(host: str) -> None:
    with pytest.raises(ValidationError):
        Mqtt(host=host)


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("https://h:3032", "https://h:3032"),
        ("https://h/api/", "https://h/api"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("https://straße.example", "https://straße.example"),
        ("https://my_host", "https://my_host"),
    ],
)
def test_base_url_with_valid_url_is_accepted(url: str, normalized: str) -> None:
    assert Cloud(base_url=url).base_url == normalized


@pytest.mark.parametrize(
    "url",
    ["", "h", "ftp://h", "https://", "https://h:0", "https://h:99999", "https://h:x", "https://h?q", "https://h#f",
     "https://u@h", "https://h\n", "https://h /x", "https://[::1", "//h", "https://a\u200bb", "https://☃.net",
     "https://xn--a", "https://1.2.3.999", "https://\u0301x", "https://h\ud800"],
)  # fmt: skip
def test_base_url_with_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(ValidationError):
        Cloud(base_url=url)


@pytest.mark.parametrize("path", ["/e/{edge_device_id}/{uuid}", "/{uuid}", "/{uuid}?full=1", "/{{}}/{uuid}"])
def test_status_path_with_valid_template_is_accepted(path: str) -> None:
    assert Cloud(status_path=path).status_path == path


@pytest.mark.parametrize(
    "path",
    ["", "{uuid}", "/x", "/{uuid}/{token}", "/{}", "/{uuid", "/{uuid!r}", "/{uuid:>9}", "/{uuid[0]}", "/{uuid} ",
     "/{uuid}#", "/ä{uuid}", "/{{uuid}}"],
)  # fmt: skip
def test_status_path_with_invalid_template_is_rejected(path: str) -> None:
    with pytest.raises(ValidationError):
        Cloud(status_path=path)


@pytest.mark.parametrize("prefix", ["", "/", "/a", "a/", "a//b", "a+", "#", "$SYS", "a\x00", "a\udcff", "a" * 201])
def test_base_topic_with_invalid_prefix_is_rejected(prefix: str) -> None:
    with pytest.raises(ValidationError):
        Mqtt(host="h", base_topic=prefix)


@pytest.mark.parametrize("key", ["name", "token_file"])
@pytest.mark.parametrize("text", ["a\udcff", "\ud83d", "a\nb", "\x1b[31m"])
def test_text_with_line_break_or_surrogate_is_rejected(key: str, text: str) -> None:
    with pytest.raises(ValidationError):
        config(**{key: text})


def test_effective_port_depends_on_tls() -> None:
    assert Mqtt(host="h").effective_port == 1883
    assert Mqtt(host="h", tls=Tls()).effective_port == 8883
    assert Mqtt(host="h", tls=Tls(), port=1).effective_port == 1


@pytest.mark.parametrize(
    ("http", "page_url"),
    [
        (Http(), ""),
        (Http(host="localhost"), ""),
        (Http(host="0.0.0.0"), ""),
        (Http(host="::"), ""),
        (Http(host="192.0.2.10"), "http://192.0.2.10:9480/"),
        (Http(host="fd00::1", port=80), "http://[fd00::1]:80/"),
        (Http(host="evse.example.com"), "http://evse.example.com:9480/"),
        (Http(public_url="https://example.com/evse/"), "https://example.com/evse/"),
        (Http(host="0.0.0.0", public_url="http://evse.local:8080"), "http://evse.local:8080/"),
        (Http(host="192.0.2.10", enabled=False), ""),
        (Http(public_url="https://example.com", enabled=False), ""),
    ],
)
def test_page_url_is_reachable_from_elsewhere(http: Http, page_url: str) -> None:
    assert http.page_url == page_url


def test_station_has_effective_interval_and_topic_id() -> None:
    item = config(name="North", alias="north", plugs={"p": "left"}, plug_names={"p": "Left bay"}).stations[0]
    station = item.station(Polling(interval=7))
    assert (station.uuid, station.interval, station.title, station.topic_id) == ("a", 7, "North", "north")
    assert (dict(station.plugs), dict(station.plug_names)) == ({"p": "left"}, {"p": "Left bay"})
    assert config(interval=2).stations[0].station(Polling(interval=7)).interval == 2
    assert StationConfig.of(StationTable.model_validate(STATION)).station(Polling()).topic_id == "a"


def test_every_setting_has_description_and_expectation() -> None:
    for setting in settings():
        assert setting.expected != "text", format_path(setting.path)
        if setting.section is None and setting.path[-1] != "*":
            assert setting.description.endswith("."), format_path(setting.path)
