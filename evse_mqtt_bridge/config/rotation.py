"""Reads secrets again from their files, and returns the configuration with those that have changed."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr, ValidationError

from evse_mqtt_bridge.config.errors import printable
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.secrets import read_secret
from evse_mqtt_bridge.config.section import Section
from evse_mqtt_bridge.config.value_types import Password, Token

__all__ = ["Reread", "has_file", "reread"]


class _Token(Section):
    secret: Token


class _Password(Section):
    secret: Password


@dataclass(frozen=True, slots=True)
class Reread:
    """The result of reading secrets again.

    Attributes:
        config: The configuration with the secrets that the files contain now.
        replaced: The settings whose secret has changed.
        errors: Why a secret cannot be read, with its setting; the configuration keeps the former one.
    """

    config: Config
    replaced: tuple[str, ...]
    errors: tuple[str, ...]


def has_file(config: Config, *, stations: Container[str], password: bool) -> bool:
    """Return whether any of these secrets is in a file.

    Args:
        config: The configuration.
        stations: The uuids of the stations whose tokens are meant.
        password: Whether the broker's password is meant, too.
    """
    return bool((password and config.mqtt.password_file) or any(_token_files(config, stations)))


def reread(config: Config, *, stations: Container[str], password: bool) -> Reread:
    """Read secrets again from their files. Blocks, as the files may be on a network share.

    Args:
        config: The configuration with the former secrets.
        stations: The uuids of the stations whose tokens are read.
        password: Whether the broker's password is read, too.
    """
    replaced: list[str] = []
    errors: list[str] = []

    def read(setting: str, file: str, kind: type[_Token | _Password], former: SecretStr | None) -> SecretStr | None:
        try:
            found = _validated(kind, Path(file))
        except ValueError as error:
            errors.append(f"{setting}: {error}")
            return former
        if found != former:
            replaced.append(setting)
        return found

    mqtt, entries = config.mqtt, list(config.stations)
    if password and mqtt.password_file:
        secret = read("mqtt.password_file", mqtt.password_file, _Password, mqtt.password)
        mqtt = mqtt.model_copy(update={"password": secret})
    for index, file in _token_files(config, stations):
        secret = read(f"stations[{index}].token_file", file, _Token, entries[index].token)
        if secret is not None:
            entries[index] = replace(entries[index], token=secret)
    if replaced:
        config = config.model_copy(update={"mqtt": mqtt, "stations": tuple(entries)})
    return Reread(config, tuple(replaced), tuple(errors))


def _token_files(config: Config, stations: Container[str]) -> Iterator[tuple[int, str]]:
    """Yield the index and the token file of each of these stations that has one."""
    for index, entry in enumerate(config.stations):
        if entry.token_file and entry.uuid in stations:
            yield index, entry.token_file


def _validated(kind: type[_Token | _Password], file: Path) -> SecretStr:
    """Return the secret in a file.

    Raises:
        ValueError: The file cannot be read, or does not contain a valid secret.
    """
    try:
        return kind.model_validate({"secret": read_secret(file)}).secret
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValueError(f"{printable(file)}: expected {first['msg'].removeprefix('Value error, ')}") from None
