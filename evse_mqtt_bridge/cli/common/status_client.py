"""A client of the status page: finds the address of a running bridge and fetches its snapshot."""

import json
import os
import re
import time
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import click
import httpx
from pydantic import ValidationError

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cli.common.health_settings import usable_settings
from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.config import environment
from evse_mqtt_bridge.config.load import read_text, read_toml
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file, path_exists
from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Snapshot, StationSnapshot, from_json
from evse_mqtt_bridge.support.errors import ConfigError, UnavailableError
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean

__all__ = [
    "MAX_BODY",
    "TIMEOUT",
    "StatusClient",
    "address_error",
    "bridge_address",
    "page_address",
    "running_bridge_address",
    "select_stations",
    "select_unavailable",
]

TIMEOUT = 5.0
"""Seconds to wait for each part of the response."""

MAX_BODY = 256 * 2**20
"""Largest response in bytes; 20,000 stations need less."""

_CONNECT_TIMEOUT = 3.0  # seconds
_TOTAL_TIMEOUT = 20.0  # seconds
_MESSAGE_LENGTH = 200  # characters
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_ADVICE = "; is the bridge running with http.enabled, and is the address right (--url)?"


def bridge_address(config: Path | None, url: str | None) -> str:
    """Return the address of the bridge's status page, without a trailing slash.

    The address is `url`, else that of `[http]` in the configuration, else the default if there is no configuration.
    Only that table is read, so that files with secrets that this user may not read cause no error.

    Raises:
        ConfigError: The configuration cannot be read, or its `[http]` is invalid.
        UnavailableError: The status page is disabled.
    """
    if url is not None:
        return url
    path = choose_file(config, os.environ)
    settings = _http_settings(None if config is None and path == DEFAULT_FILE and not path_exists(path) else path)
    if not settings.enabled:
        raise UnavailableError(
            f"the status page is disabled: http.enabled = false in {path or 'the environment'}; set it to true and "
            "restart the bridge or send it SIGHUP"
        )
    return page_address(settings)


def running_bridge_address(config: Path | None, url: str | None) -> str:
    """Return the address as `bridge_address` does, also if the configuration became invalid after the bridge started.

    Then the address comes from the settings that are valid, and a warning is printed.

    Raises:
        ConfigError: The configuration is invalid, and no bridge answers.
        UnavailableError: The status page is disabled.
    """
    try:
        return bridge_address(config, url)
    except ConfigError as error:
        settings = usable_settings(choose_file(config, os.environ), os.environ)
        if settings is None:
            raise
        address = f"http://{host_and_port(local_address(settings.host), settings.port)}"
        try:
            with StatusClient(address) as client:
                client.fetch()
        except UnavailableError:
            raise error from None
        click.echo(f"warning: the bridge at {address} runs, but could not be restarted: {error}", err=True)
        return address


def page_address(settings: Http) -> str:
    """Return the address at which the bridge's own machine reaches the status page."""
    return f"http://{host_and_port(local_address(settings.host), settings.port)}"


def address_error(url: str) -> str | None:
    """Return why `url` cannot be the address of a bridge; `None` if it can."""
    try:
        urlsplit(url)  # rejects hosts that httpx accepts
        parsed = httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        return str(error)
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        return "expected an address like http://127.0.0.1:9480"
    return None


class StatusClient:
    """Fetches snapshots of one bridge over a connection that stays open; a context manager.

    Args:
        address: The address of the status page, as `bridge_address` returns it.
    """

    def __init__(self, address: str) -> None:
        self.address = _without_credentials(address)
        self._url = f"{address}/api/picture"
        self._client = httpx.Client(timeout=httpx.Timeout(TIMEOUT, connect=_CONNECT_TIMEOUT), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch(self) -> tuple[bytes, Snapshot]:
        """Return the current snapshot, as received and decoded.

        Raises:
            UnavailableError: No bridge answers, or its version is incompatible.
        """
        try:
            body = self._fetch_body()
        except httpx.HTTPError as error:
            reason = "timed out" if isinstance(error, httpx.TimeoutException) else _ERRNO.sub("", str(error))
            raise self._unavailable(f"no bridge answers: {clean(reason, _MESSAGE_LENGTH)}{_ADVICE}") from None
        try:
            return body, from_json(body)
        except ValueError:
            raise self._unavailable(_undecodable(body)) from None

    def _fetch_body(self) -> bytes:
        deadline = time.monotonic() + _TOTAL_TIMEOUT
        body = bytearray()
        with self._client.stream("GET", self._url) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY or time.monotonic() > deadline:
                    raise self._unavailable(f"another program answers, with an endless response{_ADVICE}")
            if response.status_code != httpx.codes.OK:
                text = clean(body[:_MESSAGE_LENGTH].decode(errors="replace"), _MESSAGE_LENGTH) or "no text"
                advice = _ADVICE if response.status_code == httpx.codes.NOT_FOUND else ""
                raise self._unavailable(f"status {response.status_code}: {text}{advice}")
        return bytes(body)

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(f"{self.address}: {reason}")


def select_stations(snapshot: Snapshot, names: tuple[str, ...]) -> Snapshot:
    """Return the snapshot with only the stations of these names, uuids or aliases; unchanged without names.

    Raises:
        click.BadParameter: A name matches no station.
    """
    if not names:
        return snapshot
    uuids: dict[str, set[str]] = {}
    spellings: dict[str, str] = {}
    for station in snapshot.stations:
        for name in _names(station):
            uuids.setdefault(name.casefold(), set()).add(station.uuid)
            spellings[name.casefold()] = name
    selected: set[str] = set()
    for name in names:
        if name.casefold() not in uuids:
            nearest = get_close_matches(name.casefold(), uuids, n=1, cutoff=0)
            hint = f"; the nearest is {clean(spellings[nearest[0]])!r}" if nearest else ""
            raise click.BadParameter(f"the bridge has no station {clean(name)!r}{hint}", param_hint="STATION")
        selected |= uuids[name.casefold()]
    return replace(snapshot, stations=tuple(station for station in snapshot.stations if station.uuid in selected))


def select_unavailable(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with only the stations and plugs whose reason is not `online`, or unknown."""
    stations = []
    for station in snapshot.stations:
        plugs = tuple(plug for plug in station.plugs if plug.reason is not Reason.ONLINE)
        if plugs or station.reason is not Reason.ONLINE:
            stations.append(replace(station, plugs=plugs))
    return replace(snapshot, stations=tuple(stations))


def _names(station: StationSnapshot) -> tuple[str, ...]:
    return station.uuid, station.name, station.topic.rpartition("/")[2]


def _without_credentials(address: str) -> str:
    url = httpx.URL(address)
    return str(url.copy_with(username=None, password=None)) if url.userinfo else address


def _http_settings(path: Path | None) -> Http:
    """Return `[http]` of the file at `path` and the environment.

    Raises:
        ConfigError: The file cannot be read, or the table is invalid.
    """
    data = read_toml(read_text(path), path) if path is not None else {}
    variables, _ = environment.read_variables(os.environ)
    environment.overlay(data, [variable for variable in variables if variable.path[0] == "http"])
    try:
        return Http.model_validate(data.get("http", {}))
    except ValidationError:
        return load_config(path).config.http  # raises an error that names the line and the reason


def _undecodable(body: bytes) -> str:
    """Return why a response is not a snapshot: it is from another version of the bridge, or from another program."""
    try:
        version = clean(str(json.loads(body)["bridge"]["version"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"another program answers{_ADVICE}"
    return (
        f"the bridge has version {version}, which this command of version {__version__} cannot read; use the command "
        "of the same version"
    )
