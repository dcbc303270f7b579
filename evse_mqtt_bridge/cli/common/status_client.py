"""Looks at a running bridge: where it shows itself, and the picture from there."""

import json
import os
import re
import time
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import click
import httpx
from pydantic import ValidationError

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.config import environment
from evse_mqtt_bridge.config.load import read_text, read_toml
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file, path_exists
from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Snapshot, StationSnapshot, from_json
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.net import host_and_port, local_address
from evse_mqtt_bridge.support.text import clean

__all__ = ["Viewer", "address_of", "only_stations", "only_unavailable", "url_option", "where"]

_TIMEOUT = httpx.Timeout(5.0, connect=3.0)
_WHOLE = 20.0  # seconds
_LIMIT = 256 * 2**20  # bytes; a bridge of 20,000 stations stays below it
_SAID = 200
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_ADVICE = "; is it running, with http.enabled, and is this the place (--url)?"


def url_option(command: Any) -> Any:  # noqa: ANN401  # a decorator of click's
    """`--url URL`."""
    return click.option(
        "--url",
        metavar="URL",
        callback=_checked,
        help="Where the bridge is, such as http://192.0.2.10:9480, whatever the configuration says.",
    )(command)


def where(config: Path | None, url: str | None) -> str:
    """The address at which to look, without a slash at its end.

    That is `url`, else what the configuration says in `[http]`, else the default, where there is no configuration. Of
    the configuration nothing but that table is needed: the secrets that it names may be out of reach.

    Raises:
        ConfigError: the configuration cannot be read, or its `[http]` is wrong.
        UnavailableError: it says that nothing is shown.
    """
    if url is not None:
        return url
    path = choose_file(config, os.environ)
    settings = _settings(None if config is None and path == DEFAULT_FILE and not path_exists(path) else path)
    if not settings.enabled:
        raise UnavailableError(
            f"there is nothing to look at: http.enabled = false in {path or 'the environment'}; set it to true, and "
            "restart the bridge or send it SIGHUP"
        )
    return address_of(settings)


def address_of(settings: Http) -> str:
    """Where a bridge with these settings is found from its own machine."""
    return f"http://{host_and_port(local_address(settings.host), settings.port)}"


class Viewer:
    """Asks one bridge for its picture; a context manager, which keeps a connection. `address` is that of `where`."""

    def __init__(self, address: str) -> None:
        self.address = _without_login(address)
        self._url = f"{address}/api/picture"
        self._client = httpx.Client(timeout=_TIMEOUT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def look(self) -> tuple[bytes, Snapshot]:
        """The picture, as it was served and as a value.

        Raises:
            UnavailableError: no bridge answers there, or one of another version.
        """
        try:
            body = self._fetch()
        except httpx.HTTPError as error:
            words = "not in time" if isinstance(error, httpx.TimeoutException) else _ERRNO.sub("", str(error))
            raise self._unavailable(f"no bridge answers: {clean(words, 200)}{_ADVICE}") from None
        try:
            return body, from_json(body)
        except ValueError:
            raise self._unavailable(_other_version(body)) from None

    def _fetch(self) -> bytes:
        until = time.monotonic() + _WHOLE
        body = bytearray()
        with self._client.stream("GET", self._url) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _LIMIT or time.monotonic() > until:
                    raise self._unavailable(f"no bridge answers, but something else, without an end{_ADVICE}")
            if answer.status_code != httpx.codes.OK:
                said = clean(body[:_SAID].decode(errors="replace"), _SAID) or "nothing"
                raise self._unavailable(f"it answers with status {answer.status_code} and says: {said}")
        return bytes(body)

    def _unavailable(self, words: str) -> UnavailableError:
        return UnavailableError(f"{self.address}: {words}")


def only_stations(picture: Snapshot, names: tuple[str, ...]) -> Snapshot:
    """The picture with the stations that have these names, uuids or aliases alone; with all of them for no names.

    Raises:
        click.BadParameter: there is none of a name.
    """
    if not names:
        return picture
    uuids: dict[str, set[str]] = {}
    spelled: dict[str, str] = {}
    for station in picture.stations:
        for name in _names(station):
            uuids.setdefault(name.casefold(), set()).add(station.uuid)
            spelled[name.casefold()] = name
    wanted: set[str] = set()
    for name in names:
        if name.casefold() not in uuids:
            nearest = get_close_matches(name.casefold(), uuids, n=1, cutoff=0)
            said = f"; the nearest is {clean(spelled[nearest[0]])!r}" if nearest else ""
            raise click.BadParameter(f"the bridge has no station {clean(name)!r}{said}", param_hint="STATION")
        wanted |= uuids[name.casefold()]
    return replace(picture, stations=tuple(station for station in picture.stations if station.uuid in wanted))


def only_unavailable(picture: Snapshot) -> Snapshot:
    """The picture with the stations and plugs that are not online alone; what is not known yet is not online."""
    stations = []
    for station in picture.stations:
        plugs = tuple(plug for plug in station.plugs if plug.reason is not Reason.ONLINE)
        if plugs or station.reason is not Reason.ONLINE:
            stations.append(replace(station, plugs=plugs))
    return replace(picture, stations=tuple(stations))


def _names(station: StationSnapshot) -> tuple[str, ...]:
    return station.uuid, station.name, station.topic.rpartition("/")[2]


def _checked(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        urlsplit(value)  # which knows better than httpx what is no host
        url = httpx.URL(value)
    except (ValueError, httpx.InvalidURL) as error:
        raise click.BadParameter(str(error)) from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise click.BadParameter("expected an address like http://127.0.0.1:9480")
    return value.rstrip("/")


def _without_login(address: str) -> str:
    url = httpx.URL(address)
    return str(url.copy_with(username=None, password=None)) if url.userinfo else address


def _settings(path: Path | None) -> Http:
    data = read_toml(read_text(path), path) if path is not None else {}
    variables, _ = environment.read_variables(os.environ)
    environment.overlay(data, [variable for variable in variables if variable.path[0] == "http"])
    try:
        return Http.model_validate(data.get("http", {}))
    except ValidationError:
        return load_config(path).config.http  # which tells what is wrong, and where


def _other_version(body: bytes) -> str:
    try:
        version = clean(str(json.loads(body)["bridge"]["version"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"no bridge answers, but something else{_ADVICE}"
    return (
        f"the bridge there is version {version}, and this command, which is version {__version__}, cannot read it: "
        "use the one of its version"
    )
