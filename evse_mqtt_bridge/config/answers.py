"""What is asked before the first run, and the configuration file that the answers make."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from evse_mqtt_bridge.config.schema_index import KeyPath, setting_at
from evse_mqtt_bridge.config.template import render_template

__all__ = ["Answers", "BrokerAnswers", "StationAnswers", "render_answers", "value_error"]

_HEAD = """\
# The configuration of evse-mqtt-bridge, as `evse-mqtt-bridge init` made it, with every setting: a line that begins
# with # and no space is a setting at its default, or an example of one that has none.
#
# Try a change with `evse-mqtt-bridge check`; a bridge that is running takes it over when it gets SIGHUP. Each setting
# can also come from the environment, as EVSE_MQTT_BRIDGE__ with the table and the key, and wins there:
# EVSE_MQTT_BRIDGE__MQTT__HOST=broker.example.com
#
# Names of files are relative to the folder of this file.
"""


@dataclass(frozen=True, slots=True)
class BrokerAnswers:
    """The broker: what goes into `[mqtt]`; `port` is `None` for the usual one, and files are named for `[mqtt]`."""

    host: str
    port: int | None = None
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class StationAnswers:
    """One station; with neither token nor `token_file` the token is elsewhere, such as in the environment."""

    edge_device_id: str
    uuid: str
    token: str = field(default="", repr=False)
    token_file: str = ""
    name: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """All of them; `None`: not asked, the default. `interval` is in seconds."""

    broker: BrokerAnswers
    stations: Sequence[StationAnswers] = ()
    base_url: str = ""
    cloud_ca_file: str = ""
    interval: float | None = None
    homeassistant: bool | None = None


def render_answers(answers: Answers) -> str:
    """A configuration file that says what was answered, and explains every setting."""
    broker = answers.broker
    cloud = {"base_url": answers.base_url, "ca_file": answers.cloud_ca_file}
    tables: dict[str, Any] = {
        "mqtt": _given(broker, "host", "port", "username", "password", "password_file"),
        "cloud": {key: value for key, value in cloud.items() if value},
        "polling": {} if answers.interval is None else {"interval": answers.interval},
        "homeassistant": {} if answers.homeassistant is None else {"enabled": answers.homeassistant},
        "stations": [
            _given(station, "edge_device_id", "uuid", "token", "token_file", "name", "alias")
            for station in answers.stations
        ],
    }
    if broker.tls:
        tables["mqtt"]["tls"] = _given(broker, "ca_file", "cert_file", "key_file")
    return render_template(_HEAD, tables)


def value_error(path: KeyPath, value: object) -> str | None:
    """What is wrong with one value by itself, in words without the value; `None` where nothing is.

    `path` is that of a setting in a table, such as `("mqtt", "host")`; EACH stands for the index of a station.
    """
    setting, table = setting_at(path), setting_at(path[:-1])
    if setting is None or table is None or table.section is None:
        raise ValueError(f"{path} is not the path of a setting in a table")
    try:
        table.section.model_validate({path[-1]: value})
    except ValidationError as error:
        if any(detail["loc"][:1] == path[-1:] for detail in error.errors(include_url=False, include_input=False)):
            return f"expected {setting.expected}"
    return None


def _given(answers: BrokerAnswers | StationAnswers, *names: str) -> dict[str, Any]:
    """The answers of these names that are not empty."""
    return {name: value for name in names if (value := getattr(answers, name)) not in ("", None)}
