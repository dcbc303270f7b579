"""The configuration schema: every key with its default, range and description.

config.toml.example and the tables in docs/configuration.md are generated from the descriptions. Rules that involve
several keys are in checks.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from sys import intern
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, PlainSerializer, SecretStr
from pydantic_core import CoreSchema, core_schema

from evse_mqtt_bridge.config.fleet import Fleet
from evse_mqtt_bridge.config.section import Section
from evse_mqtt_bridge.config.value_types import (
    Alias,
    BaseTopic,
    DatabaseUrl,
    File,
    HeaderName,
    HeaderValue,
    Host,
    Line,
    Password,
    PlugAlias,
    PlugName,
    ServerName,
    StatusPath,
    TimeZone,
    Token,
    TopicPrefix,
    Url,
    Uuid,
    WebSocketPath,
)
from evse_mqtt_bridge.domain.model import EMPTY, Station, station_title
from evse_mqtt_bridge.support.net import host_and_port, is_loopback, is_wildcard

__all__ = [
    "Cloud",
    "Config",
    "History",
    "HomeAssistant",
    "Http",
    "Log",
    "Mqtt",
    "Polling",
    "StationConfig",
    "StationTable",
    "Tls",
    "default_port",
]


class Tls(Section):
    """`[mqtt.tls]`: TLS to the broker, enabled by this table, even if it is empty. Certificates are always verified."""

    ca_file: File = ""
    """PEM file with the CA of the broker's certificate, trusted in addition to the system's CAs."""
    cert_file: File = ""
    """PEM file with the bridge's client certificate, if the broker requires one."""
    key_file: File = ""
    """PEM file with the private key of `cert_file`. Empty: the key is in `cert_file`."""
    server_name: ServerName = ""
    """Host name that the broker's certificate must contain. Empty: `mqtt.host`. Set it if `mqtt.host` is an address."""


def default_port(*, tls: bool, transport: Literal["tcp", "websockets"] = "tcp") -> int:
    """Return the port that IANA registered for MQTT, or for HTTP in case of WebSockets, with or without TLS."""
    if transport == "websockets":
        return 443 if tls else 80
    return 8883 if tls else 1883


class Mqtt(Section):
    """`[mqtt]`: connection to the MQTT broker, and publishing options."""

    host: Host
    """Host name or IP address of the broker."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the broker. Default: 1883, or 8883 with TLS; with WebSockets 80, or 443 with TLS."""
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
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """MQTT version. "auto": MQTT 5, or 3.1.1 once the broker refuses MQTT 5."""
    transport: Literal["tcp", "websockets"] = "tcp"
    """How MQTT is transported. "websockets" requires a broker that offers MQTT over WebSocket."""
    websocket_path: WebSocketPath = "/mqtt"
    """Path of the WebSocket."""
    websocket_headers: Annotated[
        Mapping[HeaderName, HeaderValue], AfterValidator(MappingProxyType), PlainSerializer(dict)
    ] = Field(default_factory=lambda: MappingProxyType({}))
    """Further headers of the request that opens the WebSocket: name = value."""
    qos: Annotated[int, Field(ge=0, le=2)] = 1
    """Quality of service of every message: 0 (at most once), 1 (at least once) or 2 (exactly once). With `[fleet]`: 0
    or 1."""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    """MQTT keep-alive interval, in seconds."""
    tls: Tls | None = None
    """TLS settings. An empty table `[mqtt.tls]` enables TLS."""

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or default_port(tls=self.tls is not None, transport=self.transport)

    @property
    def address(self) -> str:
        """Host and port as text."""
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
    """Maximum number of concurrent requests. A quarter of them is reserved for stations that answered last time."""
    max_requests_per_second: Annotated[float, Field(ge=0, le=100_000)] = 50
    """Maximum number of requests started per second, for all stations together. 0: no limit."""
    environment_proxy: bool = False
    """Use the proxy from the HTTPS_PROXY and NO_PROXY environment variables. It must be an http:// proxy."""
    transport: Literal["auto", "libcurl", "httpx", "aiohttp"] = "auto"
    """HTTP library. "auto": libcurl, which needs the least CPU, if pycurl is installed, otherwise httpx. "aiohttp" is a
    deprecated synonym of "httpx"."""


class Polling(Section):
    """`[polling]`: how often stations are polled, when they count as offline, and which values count as changed."""

    interval: Annotated[float, Field(ge=1, le=86_400)] = 30
    """Time between two polls of a station, in seconds."""
    offline_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of consecutive failed polls after which a station is `offline`."""
    max_backoff: Annotated[float, Field(ge=1, le=86_400)] = 300
    """Maximum time between two polls of a station that does not answer, in seconds; its interval, if that is longer."""
    stale_after: Annotated[float, Field(ge=0, le=604_800)] = 1200
    """Maximum age of a measurement, in seconds. Older: the plug is `offline` with reason `stale`. 0: no limit. This
    is also for how long values of the previous run count after a start without a response."""
    heartbeat: Annotated[float, Field(ge=0, le=86_400)] = 60
    """Time after which `time` and `state` are published although no value changed, in seconds. 0: on every poll.
    Earlier after 10 Wh, at most once a minute, and with the last polls of an hour if the energy changed."""
    power_decimals: Annotated[int, Field(ge=0, le=15)] = 1
    """Number of decimals to which powers in W are rounded, so that noise is no change. 15: no rounding."""
    current_decimals: Annotated[int, Field(ge=0, le=15)] = 2
    """Number of decimals to which currents in A are rounded, so that noise is no change. 15: no rounding."""


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


class History(Section):
    """`[history]`: the database with charging sessions and hourly energy."""

    enabled: bool = True
    """Store sessions and energy."""
    url: DatabaseUrl = ""
    """Database: "sqlite:///" and a file, or "postgresql+psycopg://user@host/database". Default: `history.sqlite` in the
    state directory of the service."""
    password: Password | None = None
    """Password for PostgreSQL."""
    password_file: File = ""
    """File with the password, as an alternative to `password`. A newline at the end is ignored."""
    keep_sessions: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days after which a session is removed. 0: never."""
    keep_energy: Annotated[int, Field(ge=0, le=36_500)] = 1096
    """Days after which hourly energy is removed. 0: never."""
    time_zone: TimeZone = ""
    """Time zone in which days and months begin at midnight, such as "Europe/Berlin". Default: that of the machine."""


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
    public_url: Url | None = None
    """Address at which people open the status page, for the link in Home Assistant. Default: host and port, if host is
    neither a loopback address nor for all networks, otherwise no link."""

    @property
    def page_url(self) -> str:
        """The address of the status page for other machines, which ends in `/`; empty if there is none."""
        if not self.enabled:
            return ""
        if self.public_url:
            return f"{self.public_url}/"
        is_reachable = not is_loopback(self.host) and not is_wildcard(self.host)
        return f"http://{host_and_port(self.host, self.port)}/" if is_reachable else ""


class StationTable(Section):
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
        default_factory=lambda: EMPTY
    )
    """Names of the plugs in topics, in place of their UUIDs: plug UUID = alias."""
    plug_names: Annotated[Mapping[Uuid, PlugName], AfterValidator(MappingProxyType), PlainSerializer(dict)] = Field(
        default_factory=lambda: EMPTY
    )
    """Display names of the plugs, in place of the vendor's labels: plug UUID = name."""
    interval: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """Time between two polls of this station, in seconds. Default: `polling.interval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationConfig:
    """A `StationTable` in a third of its memory, because there are thousands of stations."""

    edge_device_id: str
    uuid: str
    token: SecretStr
    token_file: str = ""
    name: str = ""
    alias: str = ""
    plugs: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    plug_names: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    interval: float | None = None

    @classmethod
    def of(cls, table: StationTable) -> Self:
        """Return a station of the configuration."""
        return cls(
            edge_device_id=intern(table.edge_device_id),  # several stations are connected to one device
            uuid=table.uuid,
            token=table.token,
            token_file=table.token_file,
            name=table.name,
            alias=table.alias,
            plugs=table.plugs,
            plug_names=table.plug_names,
            interval=table.interval,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a table, and accept an object of this class as it is."""
        return core_schema.no_info_wrap_validator_function(cls._validate, handler.generate_schema(StationTable))

    @classmethod
    def _validate(cls, value: object, validate_table: Callable[[object], StationTable]) -> "StationConfig":
        return value if isinstance(value, StationConfig) else cls.of(validate_table(value))

    @property
    def title(self) -> str:
        """The display name of the station."""
        return station_title(self.name, self.alias, self.uuid)

    def station(self, polling: Polling) -> Station:
        """Return the station without its token, with the polling interval that applies to it."""
        return Station(
            uuid=self.uuid,
            interval=self.interval or polling.interval,
            name=self.name,
            alias=self.alias,
            plugs=self.plugs,
            plug_names=self.plug_names,
        )


class Config(Section):
    """A complete configuration, including secrets that were read from files.

    Equal configurations compare equal, so a reload can find out which tables changed.
    """

    mqtt: Mqtt
    cloud: Cloud = Cloud()
    polling: Polling = Polling()
    homeassistant: HomeAssistant = HomeAssistant()
    history: History = History()
    fleet: Fleet | None = None
    """Sharing of the stations with other bridges. A table `[fleet]` enables it."""
    log: Log = Log()
    http: Http = Http()
    stations: Annotated[tuple[StationConfig, ...], Field(strict=False)] = ()
