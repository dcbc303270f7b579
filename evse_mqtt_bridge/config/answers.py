"""Turns the answers given to `init` into a first configuration file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from evse_mqtt_bridge.config.schema_index import KeyPath, setting_at
from evse_mqtt_bridge.config.template import render_template

__all__ = ["Answers", "BrokerAnswers", "StationAnswers", "render_answers", "station_fields", "value_error"]

_HEAD = """\
# Configuration of evse-mqtt-bridge, created by `evse-mqtt-bridge init`. It lists every setting: a line that starts
# with # and no space is a setting at its default, or an example if there is no default.
#
# Check your changes with `evse-mqtt-bridge check`. A running bridge loads them on SIGHUP. Environment variables
# override this file; their names are EVSE_MQTT_BRIDGE__, the table, two underscores and the key:
# EVSE_MQTT_BRIDGE__MQTT__HOST=broker.example.com
#
# File paths are relative to the directory of this file.
"""


@dataclass(frozen=True, slots=True)
class BrokerAnswers:
    """Settings for `[mqtt]`; empty text leaves a setting out.

    Attributes:
        host: Host name or IP address.
        port: TCP port, 1 to 65535; `None`: the default, which depends on `tls`.
        tls: Whether to connect with TLS.
        ca_file: Path of the CA certificates.
        cert_file: Path of the client certificate.
        key_file: Path of the client certificate's key.
        username: User name.
        password: Password, to be written into the file.
        password_file: Path of a file with the password.
    """

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
    """Settings for one `[[stations]]`; empty text leaves a setting out.

    Attributes:
        edge_device_id: Vendor ID of the CLEMAP device.
        uuid: Vendor UUID of the station.
        token: Token, to be written into the file.
        token_file: Path of a file with the token; without both, the token comes from the environment.
        name: Display name.
        alias: Name in topics.
        plugs: Names of plugs in topics, by plug uuid.
        plug_names: Display names of plugs, by plug uuid.
    """

    edge_device_id: str
    uuid: str
    token: str = field(default="", repr=False)
    token_file: str = ""
    name: str = ""
    alias: str = ""
    plugs: Mapping[str, str] = field(default_factory=dict)
    plug_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers; `None` or empty text leaves a setting at its default.

    Attributes:
        broker: The MQTT broker.
        stations: The stations, in the order of the file.
        base_url: URL of the vendor's API.
        cloud_ca_file: Path of a CA certificate for the vendor's API.
        interval: Polling interval, in seconds.
        homeassistant: Whether to publish discovery messages.
    """

    broker: BrokerAnswers
    stations: Sequence[StationAnswers] = ()
    base_url: str = ""
    cloud_ca_file: str = ""
    interval: float | None = None
    homeassistant: bool | None = None


def render_answers(answers: Answers) -> str:
    """Return a configuration file with the answers and with an explanation of every setting."""
    broker = answers.broker
    cloud = {"base_url": answers.base_url, "ca_file": answers.cloud_ca_file}
    tables: dict[str, Any] = {
        "mqtt": _non_empty(broker, "host", "port", "username", "password", "password_file"),
        "cloud": {key: value for key, value in cloud.items() if value},
        "polling": {} if answers.interval is None else {"interval": answers.interval},
        "homeassistant": {} if answers.homeassistant is None else {"enabled": answers.homeassistant},
        "stations": [station_fields(station) for station in answers.stations],
    }
    if broker.tls:
        tables["mqtt"]["tls"] = _non_empty(broker, "ca_file", "cert_file", "key_file")
    return render_template(_HEAD, tables)


def station_fields(station: StationAnswers) -> dict[str, Any]:
    """Return the keys and values of a station as they are written into a file."""
    return _non_empty(station, "edge_device_id", "uuid", "token", "token_file", "name", "alias", "plugs", "plug_names")


def value_error(path: KeyPath, value: object) -> str | None:
    """Validate a single value; return the error, which does not contain the value, or `None`.

    Args:
        path: The path of a setting, such as `("mqtt", "host")`, with EACH for the index of a station or the uuid of a
            plug.
        value: The value to validate.
    """
    setting, table = setting_at(path), setting_at(path[:-1])
    if table is not None and table.is_free:
        value, path, table = {path[-1]: value}, path[:-1], setting_at(path[:-2])
    if setting is None or table is None or table.section is None:
        raise ValueError(f"{path} is not the path of a setting in a table")
    try:
        table.section.model_validate({path[-1]: value})
    except ValidationError as error:
        if any(detail["loc"][:1] == path[-1:] for detail in error.errors(include_url=False, include_input=False)):
            return f"expected {setting.expected}"
    return None


def _non_empty(answers: BrokerAnswers | StationAnswers, *names: str) -> dict[str, Any]:
    """Return the answers of these names, without those that leave a setting out."""
    return {name: value for name in names if (value := getattr(answers, name)) not in ("", None, {})}
