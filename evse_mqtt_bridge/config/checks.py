"""Rules that involve several keys, and warnings about valid but risky settings."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from evse_mqtt_bridge.config.errors import Issue
from evse_mqtt_bridge.config.fleet import Fleet
from evse_mqtt_bridge.config.schema import Config, Mqtt, Polling, StationConfig
from evse_mqtt_bridge.config.schema_index import format_path
from evse_mqtt_bridge.config.shard_settings import shard_client_id
from evse_mqtt_bridge.domain.shards import parse_share
from evse_mqtt_bridge.publishing.contract import STATION_FIELDS
from evse_mqtt_bridge.publishing.topics import BRIDGE
from evse_mqtt_bridge.support.net import is_loopback

__all__ = ["errors", "plug_alias_error", "warnings"]

_CLIENT_ID_LENGTH = 128

TAKEOVER_TIME = 10.0
"""Seconds within which the members that remain should poll all stations of a lost one."""

_STATION_TOPICS = tuple(field.name for field in STATION_FIELDS)
"""Last levels of a station's own topics. A plug with such an alias would publish below one of them."""


def errors(config: Config) -> Iterator[Issue]:
    """Yield an error for each key that contradicts another key."""
    if config.mqtt.password is not None and not config.mqtt.username:
        key = "password_file" if config.mqtt.password_file else "password"
        yield Issue(("mqtt", key), "requires mqtt.username; set it as well")
    tls = config.mqtt.tls
    if tls is not None and tls.key_file and not tls.cert_file:
        yield Issue(("mqtt", "tls", "key_file"), "requires mqtt.tls.cert_file; set it as well")
    if config.history.password is not None and not config.history.url.startswith("postgresql"):
        key = "password_file" if config.history.password_file else "password"
        yield Issue(("history", key), "requires history.url of a PostgreSQL database; set it as well")
    if config.fleet is not None:
        yield from _fleet_errors(config.fleet, config.mqtt)
    yield from _interval_errors(config.polling, config.stations)
    yield from _station_errors(config.stations)


_ENGINES_WITH: Mapping[str, tuple[str, ...]] = {
    "share": ("static",),
    "endpoints": ("etcd", "kubernetes"),
    "name": ("etcd", "kubernetes"),
    "namespace": ("kubernetes",),
    "username": ("etcd",),
    "tls": ("etcd", "kubernetes"),
}
"""The settings of `[fleet]` that only some engines have."""


def _fleet_errors(fleet: Fleet, mqtt: Mqtt) -> Iterator[Issue]:
    """Yield an error for each setting that a bridge with shards cannot use."""
    if mqtt.protocol == "3.1.1":
        yield Issue(("mqtt", "protocol"), 'must be "5" or "auto" with [fleet], as only MQTT 5 delays the will')
    if mqtt.qos > 1:
        yield Issue(("mqtt", "qos"), "must be 0 or 1 with [fleet], as shards continue the sessions of other members")
    longest = _CLIENT_ID_LENGTH - len(shard_client_id("", fleet.shards - 1))
    if len(mqtt.client_id) > longest:
        yield Issue(
            ("mqtt", "client_id"), f"must have at most {longest} characters with [fleet], as shards append their number"
        )
    match fleet.engine:
        case "static":
            yield from _static_errors(fleet)
        case "etcd":
            yield from _etcd_errors(fleet)
        case "kubernetes":
            yield from _kubernetes_errors(fleet)
    yield from _fleet_tls_errors(fleet)


def _static_errors(fleet: Fleet) -> Iterator[Issue]:
    try:
        parse_share(fleet.share, fleet.shards)
    except ValueError as error:
        yield Issue(("fleet", "share"), str(error))


def _etcd_errors(fleet: Fleet) -> Iterator[Issue]:
    if not fleet.endpoints:
        yield Issue(("fleet", "endpoints"), 'is missing; set the URLs of etcd, such as ["https://192.0.2.11:2379"]')
    key = "password_file" if fleet.password_file else "password"
    if fleet.password is not None and not fleet.username:
        yield Issue(("fleet", key), "requires fleet.username; set it as well")
    if fleet.username and fleet.password is None:
        yield Issue(("fleet", "username"), "requires fleet.password_file; set it as well")


def _kubernetes_errors(fleet: Fleet) -> Iterator[Issue]:
    if len(fleet.endpoints) > 1:
        yield Issue(("fleet", "endpoints"), "must have one URL at most: that of the API server")
    if fleet.password is not None and not fleet.password_file:
        yield Issue(("fleet", "password"), "must be in a file, because tokens are replaced; set fleet.password_file")


def _fleet_tls_errors(fleet: Fleet) -> Iterator[Issue]:
    tls = fleet.tls
    if tls is None:
        return
    if tls.key_file and not tls.cert_file:
        yield Issue(("fleet", "tls", "key_file"), "requires fleet.tls.cert_file; set it as well")
    if fleet.endpoints and not any(endpoint.startswith("https:") for endpoint in fleet.endpoints):
        yield Issue(("fleet", "tls"), "requires an endpoint with https://")


def _interval_errors(polling: Polling, stations: tuple[StationConfig, ...]) -> Iterator[Issue]:
    """Yield an error for each polling interval in which every measurement would become stale."""
    limit = polling.stale_after
    if not limit:
        return
    too_long = f"must be less than polling.stale_after, which is {limit:g}"
    if polling.interval >= limit:
        if "interval" in polling.model_fields_set:
            yield Issue(("polling", "interval"), too_long)
        else:
            message = f"must be more than polling.interval, which is {polling.interval:g}, or 0 for no limit"
            yield Issue(("polling", "stale_after"), message)
    for index, station in enumerate(stations):
        if station.interval is not None and station.interval >= limit:
            yield Issue(("stations", index, "interval"), too_long)


def _station_errors(stations: tuple[StationConfig, ...]) -> Iterator[Issue]:
    """Yield an error for each station that is configured twice, or whose topic level is in use already."""
    uuids: dict[str, int] = {}
    levels: dict[str, int] = {}
    for index, station in enumerate(stations):
        path = ("stations", index)
        key = "alias" if station.alias else "uuid"
        level = station.alias or station.uuid
        if station.uuid in uuids:
            yield Issue((*path, "uuid"), f"is already the uuid of {format_path(('stations', uuids[station.uuid]))}")
        elif level == BRIDGE:
            yield Issue((*path, key), f'cannot be "{BRIDGE}", which is the topic level of the bridge itself')
        elif level in levels:
            yield Issue((*path, key), f"is already the topic level of {format_path(('stations', levels[level]))}")
        uuids.setdefault(station.uuid, index)
        levels.setdefault(level, index)
        yield from _plug_errors(index, station)


def plug_alias_error(alias: str, others: Mapping[str, str]) -> str | None:
    """Return why a plug cannot have an alias, or `None`.

    Args:
        alias: The alias; empty: none.
        others: The aliases of other plugs of the same station, by uuid.
    """
    for uuid, other in others.items():
        if alias and other == alias:
            return f"is already the alias of plug {uuid}"
    if alias in _STATION_TOPICS:
        *first, last = _STATION_TOPICS
        return f"cannot be {', '.join(first)} or {last}, which are topics of the station itself"
    return None


def _plug_errors(index: int, station: StationConfig) -> Iterator[Issue]:
    previous: dict[str, str] = {}
    for uuid, alias in station.plugs.items():
        if error := plug_alias_error(alias, previous):
            yield Issue(("stations", index, "plugs", uuid), error)
        previous[uuid] = alias


def warnings(config: Config) -> Iterator[Issue]:
    """Yield a warning for each setting that is allowed but probably a mistake."""
    if not config.stations:
        yield Issue(("stations",), "no station is configured; add one with `evse-mqtt-bridge station add`")
    url = urlsplit(config.cloud.base_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Issue(("cloud", "base_url"), "tokens are sent unencrypted over http://; use https://")
    if config.cloud.transport == "aiohttp":
        yield Issue(("cloud", "transport"), '"aiohttp" is deprecated and selects httpx; set "httpx" or "auto" instead')
    if config.fleet is not None:
        yield from _fleet_warnings(config, config.fleet)
    limit = config.cloud.max_requests_per_second
    needed = sum(1 / (station.interval or config.polling.interval) for station in config.stations)
    if limit and needed > limit:
        message = f"the polling intervals need {needed:.4g} requests per second, but the limit is {limit:g}"
        yield Issue(("cloud", "max_requests_per_second"), f"{message}; stations are polled less often")


def _fleet_warnings(config: Config, fleet: Fleet) -> Iterator[Issue]:
    """Yield a warning for each setting of a fleet that does nothing, or weakens it."""
    for name, engines in _ENGINES_WITH.items():
        if getattr(fleet, name) and fleet.engine not in engines:
            wanted = " or ".join(f'"{engine}"' for engine in engines)
            yield Issue(("fleet", name), f'is not used with fleet.engine "{fleet.engine}", only with {wanted}')
    keepalive = config.mqtt.keepalive
    if "keepalive" in config.mqtt.model_fields_set and keepalive > fleet.ttl:
        message = f"is more than fleet.ttl, which is {fleet.ttl:g}: a member without a broker is noticed late"
        yield Issue(("mqtt", "keepalive"), message)
    for index, endpoint in enumerate(fleet.endpoints):
        url = urlsplit(endpoint)
        if fleet.username and url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield Issue(("fleet", "endpoints", index), "the password is sent unencrypted over http://; use https://")
    if fleet.engine != "static":
        yield from _takeover_warnings(config)


def _takeover_warnings(config: Config) -> Iterator[Issue]:
    """Yield a warning if the limit of requests delays a take-over. The worst case are two members: half is lost.

    The polls of the lost stations that are due at once share the limit with those that the intervals need.
    """
    limit = config.cloud.max_requests_per_second
    needed = sum(1 / (station.interval or config.polling.interval) for station in config.stations)
    if not limit or needed > limit:  # the latter has a warning of its own
        return
    lost = len(config.stations) / 2
    if (limit - needed) * TAKEOVER_TIME < lost:
        message = (
            f"when one of two members is lost, polling its stations within {TAKEOVER_TIME:g} s needs "
            f"{needed + lost / TAKEOVER_TIME:.4g} requests per second, but the limit is {limit:g}"
        )
        yield Issue(("cloud", "max_requests_per_second"), f"{message}; a take-over lasts longer")
