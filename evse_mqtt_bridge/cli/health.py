"""`health`: whether a bridge with this configuration runs, asked of itself where it listens, else of its broker."""

import asyncio
import contextlib
import http.client
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.mqtt.one_shot import one_shot
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.web.headers import CLIENT_ID_HEADER, SERVER_NAME

__all__ = ["health"]

_PATIENCE = 3.0
_BODY_LIMIT = 4096
_LINE_LIMIT = 500


class _Answer(NamedTuple):
    """What /healthz says."""

    well: bool
    words: str


@click.command()
@config_option
def health(config: Path | None) -> None:
    """Ask the bridge whether it is well; for health checks of containers and monitoring.

    Where [http] is enabled, the bridge itself is asked, at /healthz. Where nothing listens there, or another bridge
    does, the broker is asked for the bridge's retained availability.

    Exit code 0 when the bridge is well, or its availability is `online`; 69 when not, or where neither can be asked.

    \b
    Example:
      evse-mqtt-bridge health --config /etc/evse-mqtt-bridge/config.toml
    """
    loaded = load_config(config)
    answer = _asked(loaded.config) if loaded.config.http.enabled else None
    if answer is None:
        word = asyncio.run(_availability(loaded.config))
        is_online = word == "online"
        answer = _Answer(is_online, word if is_online else f"the bridge is {word or 'not known to the broker'}")
    if not answer.well:
        raise UnavailableError(answer.words)
    click.echo(answer.words)


def _asked(config: Config) -> _Answer | None:
    """What the bridge says of itself; `None` where nothing listens, or another bridge, which is said.

    Raises:
        UnavailableError: what listens there does not answer, or is no bridge.
    """
    settings = config.http
    host = local_address(settings.host)
    address = host_and_port(host, settings.port)
    connection = http.client.HTTPConnection(host, settings.port, timeout=_PATIENCE)
    with contextlib.closing(connection):
        try:
            connection.connect()
        except (OSError, UnicodeError):  # the latter for a name that is none
            return None
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            body = response.read(_BODY_LIMIT).decode(errors="replace")
        except OSError:
            raise UnavailableError(f"the bridge does not answer at {address}") from None
        except http.client.HTTPException:
            raise UnavailableError(f"what listens at {address} is no bridge; see http.port") from None
    if (
        response.status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
        or response.getheader("Server") != SERVER_NAME
    ):
        raise UnavailableError(f"what listens at {address} is no bridge; see http.port")
    other = unquote(response.getheader(CLIENT_ID_HEADER, ""))
    if other not in ("", config.mqtt.client_id):
        words = f"another bridge answers at {address}, {clean(other)}: give each an http.port of its own"
        click.echo(f"warning: {words}; asking the broker instead", err=True)
        return None
    words = "\n".join(clean(line, _LINE_LIMIT) for line in body.splitlines()).strip()
    return _Answer(response.status == HTTPStatus.OK, words or f"status {response.status}")


async def _availability(config: Config) -> str:
    topic = Topics(config.mqtt.base_topic).availability
    async with one_shot(config.mqtt, "health") as guest:
        return (await guest.retained([topic], quiet=0.5)).get(topic, b"").decode(errors="replace")
