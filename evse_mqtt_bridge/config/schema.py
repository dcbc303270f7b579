"""The configuration schema: every key with its default, range and description.

config.toml.example and the tables in docs/configuration.md are generated from the descriptions. Rules that involve
several keys are in checks.py.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    SecretStr,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from yarl import URL

from evse_mqtt_bridge.domain.identifiers import is_alias, is_id
from evse_mqtt_bridge.domain.model import Station, station_title
from evse_mqtt_bridge.support.net import host_and_port

__all__ = [
    "Cloud",
    "Config",
    "Expected",
    "HomeAssistant",
    "Http",
    "Log",
    "Mqtt",
    "Polling",
    "Section",
    "StationConfig",
    "Tls",
    "is_line",
]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_PLACEHOLDERS = frozenset({"edge_device_id", "uuid"})
_HOST_LENGTH = 253
_PASSWORD_LENGTH = 4096
_BASE_LEVELS = 4  # publishing/topics.py searches this many levels for the topics of a previous run


@dataclass(frozen=True, slots=True)
class Expected:
    """Annotates a string with a validation rule.

    Attributes:
        text: What the rule accepts, for error messages and the reference.
        accepts: Returns a truthy value for a valid string.
    """

    text: str
    accepts: Callable[[str], object]

    def validate(self, value: str | SecretStr) -> str | SecretStr:
        """Return `value` unchanged.

        Raises:
            ValueError: The rule rejects the value; the message does not contain it.
        """
        if not self.accepts(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(self.text)
        return value

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"expected": self.text}


def is_line(value: str) -> bool:
    """Return whether `value` is one line without control characters and without surrogates (invalid in UTF-8)."""
    return _UNPRINTABLE.search(value) is None


def _is_word(value: str) -> bool:
    return is_line(value) and re.search(r"\s", value) is None


def _is_host(value: str) -> bool:
    host = _without_brackets(value)
    if not 0 < len(host) <= _HOST_LENGTH or not _is_word(host) or re.search(r"[/\[\]]", host):
        return False
    return host.count(":") != 1 and (host == value or ":" in host)


def _without_brackets(value: str) -> str:
    """Return an IPv6 address without the brackets that it has in a URL."""
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def _is_password(value: str) -> bool:
    return len(value) <= _PASSWORD_LENGTH and is_line(value)


def _is_topic(value: str) -> bool:
    return all(value.split("/")) and not value.startswith("$") and not re.search(r"[+#]", value) and is_line(value)


def _is_url(value: str) -> bool:
    """Return whether urllib, httpx and yarl all accept the URL; they disagree about invalid IDNA names."""
    try:
        url = urlsplit(value)
        port = url.port
        URL(str(httpx.URL(value)), encoded=True).host  # noqa: B018  # the property decodes the name
    except (ValueError, httpx.InvalidURL):
        return False
    extras = url.query or url.fragment or url.username or url.password
    return url.scheme in ("https", "http") and bool(url.hostname) and not extras and port != 0 and _is_word(value)


def _is_status_path(value: str) -> bool:
    try:
        parts = list(Formatter().parse(value))
    except ValueError:
        return False
    fields = {name for _, name, _, _ in parts if name is not None}
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    text = "".join(literal for literal, *_ in parts)
    return value.startswith("/") and "uuid" in fields <= _PLACEHOLDERS and plain and not re.search(r"[^!-~]|#", text)


_ALIAS_TEXT = "1 to 64 letters, digits, _ or - (it becomes one topic level)"

Uuid = Annotated[str, Expected("1 to 64 of the characters A-Z a-z 0-9 _ -", is_id)]
PlugAlias = Annotated[str, Expected(_ALIAS_TEXT, is_alias)]
Alias = Annotated[str, Expected(_ALIAS_TEXT, lambda value: not value or is_alias(value))]
Line = Annotated[str, Expected("one line of text without control characters", is_line)]
Host = Annotated[
    str,
    Expected('a host name or IP address, without "mqtt://" or "http://" and without a port', _is_host),
    AfterValidator(_without_brackets),
]
File = Annotated[str, Expected("a file path", is_line)]
TopicPrefix = Annotated[
    str,
    Field(max_length=200),
    Expected('topic levels such as "evse" or "site/evse", without + or #, without a slash at either end', _is_topic),
]
BaseTopic = Annotated[
    str,
    Field(max_length=200),
    Expected(
        'one to four topic levels such as "evse" or "site/evse", without + or #, without a slash at either end',
        lambda value: _is_topic(value) and value.count("/") < _BASE_LEVELS,
    ),
]
Url = Annotated[
    str,
    Expected('a URL such as "https://cloud.example.com:3032", without a user name or password', _is_url),
    AfterValidator(lambda value: value.rstrip("/")),
]
StatusPath = Annotated[
    str, Expected("a path that starts with / and contains {uuid}, and optionally {edge_device_id}", _is_status_path)
]
Token = Annotated[
    SecretStr,
    Expected("1 to 4096 visible ASCII characters, no spaces (it is sent in a header)", _HEADER_TOKEN.fullmatch),
]
Password = Annotated[SecretStr, Expected("at most 4096 characters, no control characters", _is_password)]


class Section(BaseModel):
    """Base of the tables: immutable, rejects unknown keys, converts no types and keeps values out of error messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Tls(Section):
    """`[mqtt.tls]`: TLS to the broker, enabled by this table, even if it is empty. Certificates are always verified."""

    ca_file: File = ""
    """PEM file with the CA of the broker's certificate, trusted in addition to the system's CAs."""
    cert_file: File = ""
    """PEM file with the bridge's client certificate, if the broker requires one."""
    key_file: File = ""
    """PEM file with the private key of `cert_file`. Empty: the key is in `cert_file`."""


class Mqtt(Section):
    """`[mqtt]`: connection to the MQTT broker, and publishing options."""

    host: Host
    """Host name or IP address of the broker."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the broker. Default: 1883, or 8883 with TLS."""
    username: Annotated[Line, Field(max_length=1024)] = ""
    """User name, if the broker requires one."""
    password: Password | None = None
    """Password for `username`."""
    password_file: File = ""
    """File with the password, as an alternative to `password`. A newline at the end is ignored."""
    base_topic: BaseTopic = "evse"
    """First level or levels of every topic, except for discovery."""
    client_id: Annotated[Line, Field(min_length=1, max_length=128)] = "evse-mqtt-bridge"
    """MQTT client ID. It must be unique on the broker."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version. Use "3.1.1" for brokers without MQTT 5."""
    qos: Annotated[int, Field(ge=0, le=2)] = 1
    """Quality of service of every message: 0 (at most once), 1 (at least once) or 2 (exactly once)."""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    """MQTT keep-alive interval, in seconds."""
    tls: Tls | None = None
    """TLS settings. An empty table `[mqtt.tls]` enables TLS."""

    @property
    def effective_port(self) -> int:
        """Return the port to connect to."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def address(self) -> str:
        """Return host and port as text."""
        return host_and_port(self.host, self.effective_port)


class Cloud(Section):
    """`[cloud]`: requests to the vendor's API."""

    base_url: Url = "https://cloud.clemap.com:3032"
    """URL of the API."""
    status_path: StatusPath = "/edgedevices/{edge_device_id}/evses/{uuid}/status"
    """Path of the status request. {edge_device_id} and {uuid} are replaced by the station's."""
    timeout: Annotated[float, Field(ge=0.1, le=120)] = 10
    """Deadline for a complete request, from connecting to the last byte, in seconds."""
    ca_file: File = ""
    """PEM file with a CA to trust in addition to the system's CAs."""
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] = 20
    """Maximum number of concurrent requests."""
    max_requests_per_second: Annotated[float, Field(ge=0, le=100_000)] = 50
    """Maximum number of requests started per second, for all stations together. 0: no limit."""
    environment_proxy: bool = False
    """Use the proxy from the HTTPS_PROXY and NO_PROXY environment variables. It must be an http:// proxy."""
    transport: Literal["auto", "libcurl", "aiohttp"] = "auto"
    """HTTP library. "auto": libcurl, which needs the least CPU, if pycurl is installed, otherwise aiohttp."""


class Polling(Section):
    """`[polling]`: how often stations are polled, and when they count as offline."""

    interval: Annotated[float, Field(ge=1, le=86_400)] = 30
    """Time between two polls of a station, in seconds."""
    offline_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of consecutive failed polls after which a station is `offline`."""
    stale_after: Annotated[float, Field(ge=0, le=604_800)] = 1200
    """Maximum age of a measurement, in seconds. Older: the plug is `offline` with reason `stale`. 0: no limit."""
    heartbeat: Annotated[float, Field(ge=0, le=86_400)] = 60
    """Time after which `time` and `state` are published although no value changed, in seconds. 0: on every poll."""


class HomeAssistant(Section):
    """`[homeassistant]`: MQTT discovery for Home Assistant and compatible consumers such as openHAB."""

    enabled: bool = True
    """Publish discovery messages."""
    discovery_prefix: TopicPrefix = "homeassistant"
    """Discovery prefix, as configured in Home Assistant."""
    discovery: Literal["entity", "device"] = "entity"
    """One discovery message per "entity" (any Home Assistant version) or per "device" (2024.11 or newer)."""
    status_topic: TopicPrefix = "homeassistant/status"
    """Topic of Home Assistant's birth message. The bridge then republishes everything."""


class Log(Section):
    """`[log]`: the log, written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest severity to log."""
    format: Literal["console", "json"] = "console"
    """Log format: "console" for reading, or "json" with one JSON object per line."""


class Http(Section):
    """`[http]`: the HTTP server with the status page, Prometheus metrics and health endpoints."""

    enabled: bool = True
    """Run the HTTP server."""
    host: Host = "127.0.0.1"
    """Host name or IP address to listen on. "0.0.0.0" or "::": all networks; there is no authentication."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9480
    """Port to listen on. Each bridge on a machine needs its own."""


class StationConfig(Section):
    """`[[stations]]`: one charging station."""

    edge_device_id: Uuid
    """Vendor ID of the CLEMAP device to which the station is connected."""
    uuid: Uuid
    """Vendor UUID of the station."""
    token: Token
    """Secret API token of the station. Not needed if `token_file` is set."""
    token_file: File = ""
    """File with the token, as an alternative to `token`. A newline at the end is ignored."""
    name: Annotated[Line, Field(max_length=128)] = ""
    """Display name of the station, in the log, on the status page and in Home Assistant."""
    alias: Alias = ""
    """Name of the station in topics, in place of its UUID."""
    plugs: Annotated[Mapping[Uuid, PlugAlias], AfterValidator(MappingProxyType), PlainSerializer(dict)] = Field(
        default_factory=lambda: MappingProxyType({})
    )
    """Names of the plugs in topics, in place of their UUIDs: plug UUID = alias."""
    interval: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """Time between two polls of this station, in seconds. Default: `polling.interval`."""

    @property
    def title(self) -> str:
        """What a person calls this station."""
        return station_title(self.name, self.alias, self.uuid)

    def station(self, polling: Polling) -> Station:
        """Return the station without its token, with the polling interval that applies to it."""
        return Station(
            uuid=self.uuid,
            interval=self.interval or polling.interval,
            name=self.name,
            alias=self.alias,
            plugs=self.plugs,
        )


class Config(Section):
    """A complete configuration, including secrets that were read from files.

    Equal configurations compare equal, so a reload can find out which tables changed.
    """

    mqtt: Mqtt
    cloud: Cloud = Cloud()
    polling: Polling = Polling()
    homeassistant: HomeAssistant = HomeAssistant()
    log: Log = Log()
    http: Http = Http()
    stations: Annotated[tuple[StationConfig, ...], Field(strict=False)] = ()
