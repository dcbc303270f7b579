"""What must hold between several keys, and what is allowed but deserves a warning."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from evse_mqtt_bridge.config.errors import Issue
from evse_mqtt_bridge.config.schema import Config, Polling, StationConfig
from evse_mqtt_bridge.config.schema_index import format_path
from evse_mqtt_bridge.publishing.contract import STATION_FIELDS
from evse_mqtt_bridge.publishing.topics import BRIDGE
from evse_mqtt_bridge.support.net import is_loopback

__all__ = ["errors", "warnings"]

_STATION_TOPICS = tuple(field.name for field in STATION_FIELDS)
"""As a plug's alias, one of these would make a topic level a value and a folder at once."""


def errors(config: Config) -> Iterator[Issue]:
    """Where keys that are right by themselves contradict each other."""
    if config.mqtt.password is not None and not config.mqtt.username:
        key = "password_file" if config.mqtt.password_file else "password"
        yield Issue(("mqtt", key), "is of no use without mqtt.username; set that too")
    tls = config.mqtt.tls
    if tls is not None and tls.key_file and not tls.cert_file:
        yield Issue(("mqtt", "tls", "key_file"), "is of no use without mqtt.tls.cert_file; set that too")
    yield from _interval_issues(config.polling, config.stations)
    yield from _station_issues(config.stations)


def _interval_issues(polling: Polling, stations: tuple[StationConfig, ...]) -> Iterator[Issue]:
    limit = polling.stale_after
    if not limit:
        return
    if polling.interval >= limit:
        if "interval" in polling.model_fields_set:
            yield Issue(("polling", "interval"), f"expected less than polling.stale_after, which is {limit:g}")
        else:
            least = f"more than polling.interval, which is {polling.interval:g}"
            yield Issue(("polling", "stale_after"), f"expected {least}, or 0 for never")
    for index, station in enumerate(stations):
        if station.interval is not None and station.interval >= limit:
            path = ("stations", index, "interval")
            yield Issue(path, f"expected less than polling.stale_after, which is {limit:g}")


def _station_issues(stations: tuple[StationConfig, ...]) -> Iterator[Issue]:
    """No station twice, and no topic level that stands for two things."""
    uuids: dict[str, int] = {}
    levels: dict[str, int] = {}
    for index, station in enumerate(stations):
        path = ("stations", index)
        key = "alias" if station.alias else "uuid"
        level = station.alias or station.uuid
        if station.uuid in uuids:
            yield Issue((*path, "uuid"), f"is the station of {format_path(('stations', uuids[station.uuid]))} again")
        elif level == BRIDGE:
            yield Issue(
                (*path, key), f'expected another word than "{BRIDGE}", which is the topic level of the bridge itself'
            )
        elif level in levels:
            yield Issue((*path, key), f"is the topic level of {format_path(('stations', levels[level]))} already")
        uuids.setdefault(station.uuid, index)
        levels.setdefault(level, index)
        yield from _plug_issues(index, station)


def _plug_issues(index: int, station: StationConfig) -> Iterator[Issue]:
    first: dict[str, str] = {}
    for uuid, alias in station.plugs.items():
        path = ("stations", index, "plugs", uuid)
        if alias in first:
            yield Issue(path, f"is the alias of plug {first[alias]} already")
        if alias in _STATION_TOPICS:
            words = f"expected another word than {', '.join(_STATION_TOPICS)}, which are the station's own topics"
            yield Issue(path, words)
        first.setdefault(alias, uuid)


def warnings(config: Config) -> Iterator[Issue]:
    """What is allowed, and most likely not meant."""
    if not config.stations:
        yield Issue(("stations",), "there is no station; add one with `evse-mqtt-bridge station add`")
    url = urlsplit(config.cloud.base_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Issue(("cloud", "base_url"), "tokens are sent in clear over http://; use https://")
    limit = config.cloud.max_requests_per_second
    wanted = sum(1 / (station.interval or config.polling.interval) for station in config.stations)
    if limit and wanted > limit:
        words = f"the polling intervals ask for {wanted:.4g} requests per second, and this allows {limit:g}"
        yield Issue(("cloud", "max_requests_per_second"), f"{words}; stations will be polled less often")
