"""Loads a configuration from a file, environment variables and secret files, or reports every error in it."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evse_mqtt_bridge.config import checks, environment
from evse_mqtt_bridge.config.environment import Variable
from evse_mqtt_bridge.config.errors import Issue, printable, validation_issues
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.schema_index import KeyPath, format_path, variable_name
from evse_mqtt_bridge.config.secrets import Resolved, exposed_files, has_secrets, others_can_read, resolve
from evse_mqtt_bridge.config.source_positions import key_lines
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.files import file_digest, read_file
from evse_mqtt_bridge.support.text import clean

__all__ = ["Loaded", "load", "parse", "read_text", "read_toml"]

_TOML_ADVICE = {
    "Invalid value": "; put text in double quotes, and write true and false in lower case",
    "Expected newline or end of document after a statement": (
        "; put text in double quotes, and write a number with a point and without a unit"
    ),
}
"""What to do, by the message of tomllib."""

_INVALID_KEY = "Invalid initial character for a key part"

_TOML_ERROR = re.compile(
    r"(?P<message>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)


_LIMIT = 64 * 1024**2
"""Maximum size of a configuration file, in bytes: more than 100,000 stations need."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration.

    Attributes:
        config: The configuration.
        path: Its file; `None` if it comes from environment variables alone.
        warnings: Warnings about it, one line each.
        ca_digest: The digest of the content of `cloud.ca_file`, which may change while the name stays; empty: no file.
    """

    config: Config
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    ca_digest: str = ""


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Load the configuration from a file and the environment, or from the environment alone if `path` is `None`.

    Raises:
        ConfigError: The configuration has errors; one Problem each.
    """
    if path is None:
        return parse("", None, environ)
    text = read_text(path)
    loaded = parse(text, path, environ)
    if others_can_read(path) and has_secrets(tomllib.loads(text)):
        message = "contains secrets that other users can read; run `chmod 600` or move the secrets to separate files"
        loaded = replace(loaded, warnings=(str(Problem(message, source=printable(path))), *loaded.warnings))
    return loaded


def parse(text: str, path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Load the configuration from `text` instead of the content of `path`; read the files that it refers to.

    Raises:
        ConfigError: The configuration has errors; one Problem each.
    """
    data = read_toml(text, path)
    variables, issues = environment.read_variables(environ)
    rejected = {issue.path for issue in issues if issue.path}
    issues += environment.overlay(data, variables)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    folder = path.parent.absolute() if path else _working_directory()
    resolved = resolve(data, folder, Path(credentials) if credentials else None)
    issues += resolved.issues
    config, invalid = _validate(data)
    issues += _independent(invalid, resolved, rejected)
    if config is not None:
        issues += checks.errors(config)
    origins = _Origins(text, path, variables)
    if config is None or issues:
        problems = [origins.problem(issue) for issue in dict.fromkeys(issues)]
        raise ConfigError(*sorted(problems, key=lambda problem: problem.line or 0))
    warnings = (*exposed_files(resolved.read_from), *checks.warnings(config))
    lines = tuple(str(origins.problem(issue)) for issue in warnings)
    return Loaded(config, path, lines, file_digest(config.cloud.ca_file))


def read_text(path: Path) -> str:
    """Return the content of a configuration file, without a byte order mark.

    Raises:
        ConfigError: The file does not exist, cannot be read or is not UTF-8.
    """
    content = b""
    try:
        content = read_file(path, _LIMIT)
        if len(content) > _LIMIT:
            raise ConfigError(Problem(f"is larger than {_LIMIT // 1024**2} MiB", source=printable(path)))
        return content.decode().removeprefix("\ufeff")
    except FileNotFoundError:
        problem = Problem("no such file; create it with `evse-mqtt-bridge init`", source=printable(path))
    except IsADirectoryError:
        problem = Problem("is a directory, not a configuration file", source=printable(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem("is not UTF-8 text", source=printable(path), line=line)
    except OSError as error:
        problem = Problem(f"cannot be read: {error.strerror}", source=printable(path))
    raise ConfigError(problem)


def read_toml(text: str, path: Path | None) -> dict[str, Any]:
    """Return the data in `text`, the content of `path`.

    Raises:
        ConfigError: The text is not valid TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = Problem("is nested too deeply", source=printable(path))
    except tomllib.TOMLDecodeError as error:
        message, line, column = str(error), None, None
        if match := _TOML_ERROR.fullmatch(message):
            message, line, column = match["message"], int(match["line"] or text.count("\n") + 1), match["column"]
        if "overwrite" in message or "twice" in message.lower():
            message += "; a key or table is defined twice"
        message += _TOML_ADVICE.get(message, "")
        if message == _INVALID_KEY and line is not None and "{" in text.split("\n")[line - 1]:
            message += "; write a table in { } on one line, without a comma at its end"
        position = f" (column {column})" if column else ""
        problem = Problem(f"is not valid TOML: {clean(message, 200)}{position}", source=printable(path), line=line)
    except ValueError:
        problem = Problem("is not valid TOML: a number has too many digits", source=printable(path))
    raise ConfigError(problem)


def _validate(data: dict[str, Any]) -> tuple[Config | None, list[Issue]]:
    data.setdefault("mqtt", {})  # the error then names the missing key, mqtt.host
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, list(validation_issues(error))


def _independent(issues: Iterable[Issue], resolved: Resolved, rejected: AbstractSet[KeyPath]) -> Iterator[Issue]:
    """Yield the validation errors that are not consequences of other errors.

    An error in a secret is reported for the file that contains it.

    Args:
        issues: The errors of the validation.
        resolved: The secrets that were read from files.
        rejected: The keys whose environment variables had errors.
    """
    for issue in issues:
        path = issue.path
        if path in resolved.unreadable or any(path[:length] in rejected for length in range(1, len(path) + 1)):
            continue
        if file := resolved.read_from.get(path):
            yield Issue((*path[:-1], f"{path[-1]}_file"), f"{printable(file)}: {issue.message}")
        else:
            yield issue


@dataclass
class _Origins:
    """Determines the origin of a key: an environment variable, or a line of the file."""

    text: str
    path: Path | None
    variables: Sequence[Variable]

    def problem(self, issue: Issue) -> Problem:
        """Return the issue with its variable, or its file and line."""
        key, path = format_path(issue.path), issue.path
        enclosing = [path[:length] for length in range(len(path), 0, -1)]
        source = issue.variable or next((self._names[outer] for outer in enclosing if outer in self._names), "")
        line = next((self._lines[outer] for outer in enclosing if outer in self._lines), None)
        if source:
            return Problem(issue.message, key, source)
        if self.path is None or (path[:1] == ("stations",) and len(path) > 1 and path[:2] not in self._lines):
            return Problem(issue.message, key, variable_name(path))
        return Problem(issue.message, key, printable(self.path), line)

    @cached_property
    def _names(self) -> Mapping[KeyPath, str]:
        return {variable.path: variable.name for variable in self.variables}

    @cached_property
    def _lines(self) -> Mapping[KeyPath, int]:
        return key_lines(self.text)


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(Problem(f"the working directory cannot be used: {error.strerror}")) from None
