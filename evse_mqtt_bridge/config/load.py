"""From a file, the environment and secret files to a Config, or to every reason why not."""

import re
import stat
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
from evse_mqtt_bridge.config.secrets import Resolved, holds_secrets, resolve
from evse_mqtt_bridge.config.source_positions import key_lines
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.text import clean

__all__ = ["Loaded", "load", "parse", "read_text", "read_toml"]

_TOML_ERROR = re.compile(
    r"(?P<words>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the file that it came from (`None`: the environment alone), and warnings, a line each."""

    config: Config
    path: Path | None = None
    warnings: tuple[str, ...] = ()


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The configuration of a file and the environment; of the environment alone where `path` is `None`.

    Raises:
        ConfigError: with a Problem for each thing that is wrong.
    """
    if path is None:
        return parse("", None, environ)
    text = read_text(path)
    loaded = parse(text, path, environ)
    if _others_can_read(path) and holds_secrets(tomllib.loads(text)):
        words = "others can read this file, and it holds secrets; `chmod 600` it, or move them to files of their own"
        loaded = replace(loaded, warnings=(str(Problem(words, source=printable(path))), *loaded.warnings))
    return loaded


def _others_can_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # it was taken away since it was read
        return False


def parse(text: str, path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The configuration that `text` would be as the content of `path`; files that it names are read.

    Raises:
        ConfigError: with a Problem for each thing that is wrong.
    """
    data = read_toml(text, path)
    variables, issues = environment.read_variables(environ)
    doubtful = {issue.path for issue in issues if issue.path}
    issues += environment.overlay(data, variables)
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    folder = path.parent.absolute() if path else _here()
    resolved = resolve(data, folder, Path(credentials) if credentials else None)
    issues += resolved.issues
    config, invalid = _validated(data)
    issues += _explained(invalid, resolved, doubtful)
    if config is not None:
        issues += checks.errors(config)
    places = _Places(text, path, variables)
    if config is None or issues:
        problems = [places.problem(issue) for issue in dict.fromkeys(issues)]
        raise ConfigError(*sorted(problems, key=lambda problem: problem.line or 0))
    return Loaded(config, path, tuple(str(places.problem(issue)) for issue in checks.warnings(config)))


def read_text(path: Path) -> str:
    """The content of a configuration file, without a byte order mark.

    Raises:
        ConfigError: it is not there, cannot be read, or is not UTF-8.
    """
    content = b""
    try:
        content = path.read_bytes()
        return content.decode().removeprefix("\ufeff")
    except FileNotFoundError:
        words = "there is no such file; make one with `evse-mqtt-bridge init`"
        problem = Problem(words, source=printable(path))
    except IsADirectoryError:
        problem = Problem("is a folder; expected the configuration file", source=printable(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem("is not UTF-8 text", source=printable(path), line=line)
    except OSError as error:
        problem = Problem(f"cannot be read: {error.strerror}", source=printable(path))
    raise ConfigError(problem)


def read_toml(text: str, path: Path | None) -> dict[str, Any]:
    """The content of `text`, which is that of `path`.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = Problem("is nested too deeply", source=printable(path))
    except tomllib.TOMLDecodeError as error:
        words, line, column = str(error), None, None
        if found := _TOML_ERROR.fullmatch(words):
            words, line, column = found["words"], int(found["line"] or text.count("\n") + 1), found["column"]
        if "overwrite" in words or "twice" in words.lower():
            words += "; a key or a table stands there twice"
        if words == "Invalid value":
            words += "; text is written in double quotes, and true and false in small letters"
        place = f" (column {column})" if column else ""
        problem = Problem(f"is not TOML: {clean(words, 200)}{place}", source=printable(path), line=line)
    except ValueError:
        problem = Problem("is not TOML: a number has too many digits", source=printable(path))
    raise ConfigError(problem)


def _validated(data: dict[str, Any]) -> tuple[Config | None, list[Issue]]:
    data.setdefault("mqtt", {})  # so that what is missing is its host
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        return None, list(validation_issues(error))


def _explained(issues: Iterable[Issue], resolved: Resolved, doubtful: AbstractSet[KeyPath]) -> Iterator[Issue]:
    """The issues of values, told of the file that a secret came from, without those that follow from another issue."""
    for issue in issues:
        path = issue.path
        if path in resolved.unknown or any(path[:length] in doubtful for length in range(1, len(path) + 1)):
            continue
        if file := resolved.read_from.get(path):
            yield Issue((*path[:-1], f"{path[-1]}_file"), f"{printable(file)}: {issue.message}")
        else:
            yield issue


@dataclass
class _Places:
    """Where each key was set: in the environment, or on which line of the file."""

    text: str
    path: Path | None
    variables: Sequence[Variable]

    def problem(self, issue: Issue) -> Problem:
        key, path = format_path(issue.path), issue.path
        around = [path[:length] for length in range(len(path), 0, -1)]
        source = issue.variable or next((self._names[outer] for outer in around if outer in self._names), "")
        line = next((self._lines[outer] for outer in around if outer in self._lines), None)
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


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(Problem(f"the working directory cannot be used: {error.strerror}")) from None
