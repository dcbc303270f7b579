"""What a configuration may say: every key, its default, its range, and in words what it is for.

The descriptions are the configuration reference; config.toml.example and docs/configuration.md are held to them. What
must hold between several keys stands in checks.py.
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
from evse_mqtt_bridge.domain.model import Station
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
_BASE_LEVELS = 4  # so many are looked through for what an earlier life left: core/topics.py


@dataclass(frozen=True, slots=True)
class Expected:
    """Marks a string with a check, and with the words that its errors and the reference use for what it accepts."""

    words: str
    accepts: Callable[[str], object]

    def check(self, value: str | SecretStr) -> str | SecretStr:
        """`value` as it is; ValueError with the words, and without the value, where it is not accepted."""
        if not self.accepts(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(self.words)
        return value

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"expected": self.words}


def is_line(value: str) -> bool:
    """Whether a text is one line without control characters, and without surrogates, which no UTF-8 text has."""
    return _UNPRINTABLE.search(value) is None


def _is_word(value: str) -> bool:
    return is_line(value) and re.search(r"\s", value) is None


def _is_host(value: str) -> bool:
    host = _without_brackets(value)
    if not 0 < len(host) <= _HOST_LENGTH or not _is_word(host) or re.search(r"[/\[\]]", host):
        return False
    return host.count(":") != 1 and (host == value or ":" in host)


def _without_brackets(value: str) -> str:
    """An IPv6 address without the brackets in which it stands in an address of the web."""
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def _is_password(value: str) -> bool:
    return len(value) <= _PASSWORD_LENGTH and is_line(value)


def _is_topic(value: str) -> bool:
    return all(value.split("/")) and not value.startswith("$") and not re.search(r"[+#]", value) and is_line(value)


def _is_address(value: str) -> bool:
    """Whether all who read the address later will take it; they do not agree on which names are none to IDNA."""
    try:
        url = urlsplit(value)
        port = url.port
        URL(str(httpx.URL(value)), encoded=True).host  # noqa: B018  # it is decoded when it is asked for
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


_ALIAS_WORDS = "1 to 64 letters, digits, _ or - (it becomes one level of a topic)"

Uuid = Annotated[str, Expected("1 to 64 of the characters A-Z a-z 0-9 _ -", is_id)]
PlugAlias = Annotated[str, Expected(_ALIAS_WORDS, is_alias)]
Alias = Annotated[str, Expected(_ALIAS_WORDS, lambda value: not value or is_alias(value))]
Line = Annotated[str, Expected("one line of text without control characters", is_line)]
Host = Annotated[
    str,
    Expected('a host name or an IP address, without "mqtt://" or "http://" and without a port', _is_host),
    AfterValidator(_without_brackets),
]
File = Annotated[str, Expected("the name of a file", is_line)]
TopicPrefix = Annotated[
    str,
    Field(max_length=200),
    Expected('levels like "evse" or "site/evse", without + or #, without a slash at either end', _is_topic),
]
BaseTopic = Annotated[
    str,
    Field(max_length=200),
    Expected(
        'one to four levels like "evse" or "site/evse", without + or #, without a slash at either end',
        lambda value: _is_topic(value) and value.count("/") < _BASE_LEVELS,
    ),
]
Address = Annotated[
    str,
    Expected('an address like "https://cloud.example.com:3032", without user name and password', _is_address),
    AfterValidator(lambda value: value.rstrip("/")),
]
StatusPath = Annotated[
    str, Expected("a path that starts with / and contains {uuid}, and may contain {edge_device_id}", _is_status_path)
]
Token = Annotated[
    SecretStr,
    Expected("1 to 4096 visible ASCII characters, no spaces (it is sent as a header)", _HEADER_TOKEN.fullmatch),
]
Password = Annotated[SecretStr, Expected("at most 4096 characters, none of them a control character", _is_password)]


class Section(BaseModel):
    """One table of the file: nothing unknown, nothing converted, nothing changed later, no value in an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Tls(Section):
    """`[mqtt.tls]`: its presence turns TLS on; the broker's certificate is always verified."""

    ca_file: File = ""
    """PEM file with the CA that signed the broker's certificate; empty: the system's CAs."""
    cert_file: File = ""
    """PEM file with the bridge's own certificate, for brokers that ask for one."""
    key_file: File = ""
    """PEM file with the key of `cert_file`; empty: the key is in `cert_file`."""


class Mqtt(Section):
    """`[mqtt]`: the broker."""

    host: Host
    """Name or address of the broker."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the broker; without it 1883, with TLS 8883."""
    username: Annotated[Line, Field(max_length=1024)] = ""
    """User name, where the broker wants one."""
    password: Password | None = None
    """Password of `username`."""
    password_file: File = ""
    """File that holds the password, instead of `password`; one newline at its end is ignored."""
    base_topic: BaseTopic = "evse"
    """First level (or levels) of every topic of the bridge."""
    client_id: Annotated[Line, Field(min_length=1, max_length=128)] = "evse-mqtt-bridge"
    """MQTT client id; no two clients of one broker may share it."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version: "5", or "3.1.1" for brokers that know no other."""
    qos: Annotated[int, Field(ge=0, le=2)] = 1
    """Quality of service of every publication: 0, at most once; 1, at least once; 2, exactly once."""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    """Seconds without traffic after which the connection is probed."""
    tls: Tls | None = None
    """TLS settings; an empty table `[mqtt.tls]` is enough to turn it on."""

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or (8883 if self.tls else 1883)

    @property
    def address(self) -> str:
        """Host and port, for people."""
        return host_and_port(self.host, self.effective_port)


class Cloud(Section):
    """`[cloud]`: the vendor's API."""

    base_url: Address = "https://cloud.clemap.com:3032"
    """Address of the API."""
    status_path: StatusPath = "/edgedevices/{edge_device_id}/evses/{uuid}/status"
    """Path of the status request; {edge_device_id} and {uuid} are filled in."""
    timeout: Annotated[float, Field(ge=0.1, le=120)] = 10
    """Seconds that a whole request may take, from connecting to the last byte."""
    ca_file: File = ""
    """PEM file with a CA to trust besides the system's."""
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] = 20
    """Requests under way at once."""
    max_requests_per_second: Annotated[float, Field(ge=0, le=100_000)] = 50
    """Requests started per second, over all stations; 0: no limit."""
    environment_proxy: bool = False
    """Whether to use the proxy that HTTPS_PROXY and NO_PROXY name; it must be an http:// one."""
    transport: Literal["auto", "libcurl", "aiohttp"] = "auto"
    """What carries the requests: "auto" takes libcurl, which needs least, where pycurl is installed, else aiohttp."""


class Polling(Section):
    """`[polling]`: how often is asked, and when values stop being trusted."""

    interval: Annotated[float, Field(ge=1, le=86_400)] = 30
    """Seconds between two polls of a station."""
    offline_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Failed polls in a row after which a station is `offline`."""
    stale_after: Annotated[float, Field(ge=0, le=604_800)] = 1200
    """Seconds after which a measurement is too old, and its plug `offline` with reason `stale`; 0: never."""
    heartbeat: Annotated[float, Field(ge=0, le=86_400)] = 60
    """Seconds between publications of `time` and `state` while nothing else changes; 0: with every poll."""


class HomeAssistant(Section):
    """`[homeassistant]`: discovery for Home Assistant (and whatever else reads it, such as openHAB)."""

    enabled: bool = True
    """Whether discovery is published."""
    discovery_prefix: TopicPrefix = "homeassistant"
    """Home Assistant's discovery prefix."""
    discovery: Literal["entity", "device"] = "entity"
    """ "entity": one message per entity, for every version; "device": one per device, from 2024.11."""
    status_topic: TopicPrefix = "homeassistant/status"
    """Where Home Assistant says that it has started."""


class Log(Section):
    """`[log]`: what is said, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is shown."""
    format: Literal["console", "json"] = "console"
    """ "console": lines for people; "json": one object a line, for machines."""


class Http(Section):
    """`[http]`: the status page, metrics for Prometheus, and answers for health probes."""

    enabled: bool = True
    """Whether they are served."""
    host: Host = "127.0.0.1"
    """Name or address to listen on; "0.0.0.0" or "::" for every network, where nobody is asked for a password."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9480
    """Port to listen on; another one for each bridge of a machine."""


class StationConfig(Section):
    """`[[stations]]`: one charging station."""

    edge_device_id: Uuid
    """The CLEMAP device that the station is connected to, as the vendor names it."""
    uuid: Uuid
    """The station's uuid, as the vendor names it."""
    token: Token
    """The station's secret token; `token_file` takes its place."""
    token_file: File = ""
    """File that holds the token, instead of `token`; one newline at its end is ignored."""
    name: Annotated[Line, Field(max_length=128)] = ""
    """What people call the station; shown in logs and in Home Assistant."""
    alias: Alias = ""
    """Takes the uuid's place in topics."""
    plugs: Annotated[Mapping[Uuid, PlugAlias], AfterValidator(MappingProxyType), PlainSerializer(dict)] = Field(
        default_factory=lambda: MappingProxyType({})
    )
    """Aliases of plugs, by plug uuid; each takes the plug uuid's place in topics."""
    interval: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """Seconds between two polls of this station, where it differs from `polling.interval`."""

    def station(self, polling: Polling) -> Station:
        """The station as the core sees it, without the secret."""
        return Station(
            uuid=self.uuid,
            interval=self.interval or polling.interval,
            name=self.name,
            alias=self.alias,
            plugs=self.plugs,
        )


class Config(Section):
    """A whole configuration, with every secret in place.

    Two that say the same are equal, so that a reload can tell what changed.
    """

    mqtt: Mqtt
    cloud: Cloud = Cloud()
    polling: Polling = Polling()
    homeassistant: HomeAssistant = HomeAssistant()
    log: Log = Log()
    http: Http = Http()
    stations: Annotated[tuple[StationConfig, ...], Field(strict=False)] = ()
