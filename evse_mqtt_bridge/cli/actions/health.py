"""Determines whether a bridge is healthy: from /healthz of the bridge itself, else from its broker.

Containers run this check every few seconds, so the usual case imports the standard library and click only. The complete
configuration is loaded only if one of the few required settings is invalid or unusual, or if the broker is needed.
"""

import contextlib
import http.client
import os
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import click

from evse_mqtt_bridge.cli.common.health_settings import HealthSettings, read_health_settings, usable_settings
from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.config.location import choose_file
from evse_mqtt_bridge.support.errors import ConfigError, UnavailableError
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.web.headers import CLIENT_ID_HEADER, SERVER_NAME

__all__ = ["bridge_health"]

_TIMEOUT = 3.0  # seconds
_BODY_LIMIT = 4096  # bytes
_LINE_LIMIT = 500  # characters


def bridge_health(config: Path | None) -> str:
    """Return the report of the healthy bridge.

    Raises:
        UnavailableError: The bridge is not healthy, or neither the bridge nor the broker answers.
        ConfigError: The configuration is invalid, and no bridge answers.
    """
    path = choose_file(config, os.environ)
    try:
        settings = read_health_settings(path, os.environ) or _load_settings(config)
    except ConfigError as error:
        return _health_despite(error, path)
    report = _ask_bridge(settings) if settings.enabled else None
    return _ask_broker(config) if report is None else report


def _health_despite(error: ConfigError, path: Path | None) -> str:
    """Return the report of a bridge whose configuration became invalid after its start.

    Raises:
        UnavailableError: The bridge is not healthy, or another program answers.
        ConfigError: No bridge answers.
    """
    settings = usable_settings(path, os.environ)
    report = _ask_bridge(settings) if settings and settings.enabled else None
    if report is None:
        raise error
    click.echo(f"warning: the bridge runs, but could not be restarted: {error}", err=True)
    return report


def _load_settings(config: Path | None) -> HealthSettings:
    loaded = load_config(config).config
    return HealthSettings(loaded.http.enabled, loaded.http.host, loaded.http.port, loaded.mqtt.client_id)


def _ask_bridge(settings: HealthSettings) -> str | None:
    """Return the report of the bridge; `None` if nothing listens there, or another bridge, which prints a warning.

    Raises:
        UnavailableError: The bridge is not healthy or does not answer, or another program answers.
    """
    host = local_address(settings.host)
    address = host_and_port(host, settings.port)
    connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT)
    with contextlib.closing(connection):
        try:
            connection.connect()
        except (OSError, UnicodeError):  # UnicodeError: a label of the host name is too long
            return None
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            body = response.read(_BODY_LIMIT).decode(errors="replace")
        except OSError:
            raise UnavailableError(f"the bridge does not answer at {address}") from None
        except http.client.HTTPException:
            raise _not_a_bridge(address) from None
    is_healthy = response.status == HTTPStatus.OK
    is_expected = is_healthy or response.status == HTTPStatus.SERVICE_UNAVAILABLE
    if not is_expected or response.getheader("Server") != SERVER_NAME:
        raise _not_a_bridge(address)
    client_id = unquote(response.getheader(CLIENT_ID_HEADER, ""))
    if settings.client_id and client_id not in ("", settings.client_id):
        warning = f"another bridge answers at {address}, {clean(client_id)}: give each bridge its own http.port"
        click.echo(f"warning: {warning}; reading the availability from the broker instead", err=True)
        return None
    text = "\n".join(clean(line, _LINE_LIMIT) for line in body.splitlines()).strip() or f"status {response.status}"
    if not is_healthy:
        raise UnavailableError(text)
    return text


def _not_a_bridge(address: str) -> UnavailableError:
    return UnavailableError(f"the program that listens at {address} is not a bridge; check http.port")


def _ask_broker(config: Path | None) -> str:
    """Return the bridge's retained availability if it is `online`; in a fleet, that of its member or static shards.

    Raises:
        UnavailableError: The availability is not `online`, or the broker does not answer.
        ConfigError: The configuration is invalid.
    """
    import asyncio  # noqa: PLC0415  # only this case needs an MQTT client

    for name, availability in asyncio.run(_retained_availability(config)).items():
        if availability != "online":
            raise UnavailableError(f"{name} is {availability or 'not known to the broker'}")
    return "online"


async def _retained_availability(config: Path | None) -> dict[str, str]:
    """Return the availability of what runs in this process, by name."""
    from evse_mqtt_bridge.config.shard_settings import shares  # noqa: PLC0415  # as above
    from evse_mqtt_bridge.mqtt.one_shot import one_shot_client  # noqa: PLC0415  # as above
    from evse_mqtt_bridge.publishing.topics import Topics  # noqa: PLC0415  # as above

    loaded = load_config(config).config
    base, fleet = loaded.mqtt.base_topic, loaded.fleet
    if fleet is not None and fleet.engine != "static":
        topics = {f"member {fleet.member_name}": Topics(base).member(fleet.member_name)}
    else:
        names = {shard: f"shard {shard}" if shard else "the bridge" for shard in shares(loaded)}
        topics = {name: Topics(base, shard).availability for shard, name in names.items()}
    async with one_shot_client(loaded.mqtt, "health") as client:
        retained = await client.retained([*topics.values()], has_marker=False)  # it runs every 30 s in a container
        return {name: retained.get(topic, b"").decode(errors="replace") for name, topic in topics.items()}
