"""Types of the single values in a configuration, each with a validation rule and a text that describes the rule."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from evse_mqtt_bridge.domain.identifiers import is_alias, is_id

__all__ = [
    "Alias",
    "BaseTopic",
    "DatabaseUrl",
    "Expected",
    "File",
    "FleetName",
    "HeaderName",
    "HeaderValue",
    "Host",
    "Line",
    "MemberName",
    "Namespace",
    "Password",
    "PlugAlias",
    "PlugName",
    "ServerName",
    "StatusPath",
    "TimeZone",
    "Token",
    "TopicPrefix",
    "Url",
    "Uuid",
    "WebSocketPath",
    "is_line",
]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[ -~]{0,4096}")
_PLACEHOLDERS = frozenset({"edge_device_id", "uuid"})
_HOST_LENGTH = 253
_PASSWORD_LENGTH = 4096
_SQLITE = "sqlite:///"
_BASE_LEVELS = 4  # publishing/topics.py searches this many levels for the topics of a previous run


@dataclass(frozen=True, slots=True)
class Expected:
    """Annotates a string with a validation rule.

    Attributes:
        text: The accepted values as text, for error messages and the reference.
        accepts: Returns a truthy value for a valid string.
    """

    text: str
    accepts: Callable[[str], object]

    def validate(self, value: str | SecretStr) -> str | SecretStr:
        """Return `value` unchanged.

        Raises:
            ValueError: The rule rejects the value; the message does not contain it.
        """
        if not self.accepts(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise ValueError(self.text)
        return value

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"expected": self.text}


def is_line(value: str) -> bool:
    """Return whether `value` is one line without control characters and without surrogates (invalid in UTF-8)."""
    return _UNPRINTABLE.search(value) is None


def _is_word(value: str) -> bool:
    return is_line(value) and re.search(r"\s", value) is None


def _is_host(value: str) -> bool:
    host = _without_brackets(value)
    if not 0 < len(host) <= _HOST_LENGTH or not _is_word(host) or re.search(r"[/\[\]]", host):
        return False
    return host.count(":") != 1 and (host == value or ":" in host)


def _without_brackets(value: str) -> str:
    """Return an IPv6 address without the brackets that it has in a URL."""
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def _is_password(value: str) -> bool:
    return len(value) <= _PASSWORD_LENGTH and is_line(value)


def _is_topic(value: str) -> bool:
    return all(value.split("/")) and not value.startswith("$") and not re.search(r"[+#]", value) and is_line(value)


def _is_url(value: str) -> bool:
    """Return whether urllib and httpx both accept the URL; they disagree about invalid IDNA names."""
    try:
        url = urlsplit(value)
        port = url.port
        httpx.URL(value).host  # noqa: B018  # the property decodes the name
    except (ValueError, httpx.InvalidURL):
        return False
    extras = url.query or url.fragment or url.username or url.password
    return url.scheme in ("https", "http") and bool(url.hostname) and not extras and port != 0 and _is_word(value)


def _is_status_path(value: str) -> bool:
    try:
        parts = list(Formatter().parse(value))
    except ValueError:
        return False
    fields = {name for _, name, _, _ in parts if name is not None}
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    text = "".join(literal for literal, *_ in parts)
    return value.startswith("/") and "uuid" in fields <= _PLACEHOLDERS and plain and not re.search(r"[^!-~]|#", text)


def _is_database_url(value: str) -> bool:
    if value.startswith(_SQLITE):
        return len(value) > len(_SQLITE) and is_line(value)
    try:
        url = urlsplit(value)
        is_complete = bool(url.hostname) and len(url.path) > 1 and url.port != 0
    except ValueError:
        return False
    return url.scheme == "postgresql+psycopg" and is_complete and url.password is None and _is_word(value)


def _is_time_zone(value: str) -> bool:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # not a name, a folder, not in the database
        return False
    return True


_ALIAS_TEXT = "1 to 64 letters, digits, _ or - (it becomes one topic level)"

Uuid = Annotated[str, Expected("1 to 64 of the characters A-Z a-z 0-9 _ -", is_id)]
PlugAlias = Annotated[str, Expected(_ALIAS_TEXT, is_alias)]
Alias = Annotated[str, Expected(_ALIAS_TEXT, lambda value: not value or is_alias(value))]
Line = Annotated[str, Expected("one line of text without control characters", is_line)]
MemberName = Annotated[
    str,
    Expected("1 to 64 of the characters A-Z a-z 0-9 . _ -", re.compile(r"[A-Za-z0-9._-]{0,64}").fullmatch),
]
FleetName = Annotated[
    str, Expected("1 to 200 of the characters A-Z a-z 0-9 . _ - /", re.compile(r"[A-Za-z0-9._/-]{0,200}").fullmatch)
]
Namespace = Annotated[
    str,
    Expected("the name of a Kubernetes namespace", re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)?").fullmatch),
]
PlugName = Annotated[Line, Field(min_length=1, max_length=128)]
Host = Annotated[
    str,
    Expected('a host name or IP address, without "mqtt://" or "http://" and without a port', _is_host),
    AfterValidator(_without_brackets),
]
ServerName = Annotated[str, Expected("a host name", lambda value: not value or _is_host(value))]
WebSocketPath = Annotated[
    str, Field(max_length=2048), Expected("a path that starts with /, such as /mqtt", re.compile(r"/[!-~]*").fullmatch)
]
HeaderName = Annotated[str, Expected("the name of a header", _HEADER_NAME.fullmatch)]
HeaderValue = Annotated[SecretStr, Expected("visible ASCII characters and spaces", _HEADER_VALUE.fullmatch)]
File = Annotated[str, Expected("a file path", is_line)]
TopicPrefix = Annotated[
    str,
    Field(max_length=200),
    Expected('topic levels such as "evse" or "site/evse", without + or #, without a slash at either end', _is_topic),
]
BaseTopic = Annotated[
    str,
    Field(max_length=200),
    Expected(
        'one to four topic levels such as "evse" or "site/evse", without + or #, without a slash at either end',
        lambda value: _is_topic(value) and value.count("/") < _BASE_LEVELS,
    ),
]
Url = Annotated[
    str,
    Expected('a URL such as "https://cloud.example.com:3032", without a user name or password', _is_url),
    AfterValidator(lambda value: value.rstrip("/")),
]
StatusPath = Annotated[
    str, Expected("a path that starts with / and contains {uuid}, and optionally {edge_device_id}", _is_status_path)
]
Token = Annotated[
    SecretStr,
    Expected("1 to 4096 visible ASCII characters, no spaces (it is sent in a header)", _HEADER_TOKEN.fullmatch),
]
DatabaseUrl = Annotated[
    str,
    Expected(
        '"sqlite:///" and a file path, or "postgresql+psycopg://user@host/database" without a password',
        lambda value: not value or _is_database_url(value),
    ),
]
TimeZone = Annotated[
    str, Expected('a time zone such as "Europe/Berlin"', lambda value: not value or _is_time_zone(value))
]
Password = Annotated[SecretStr, Expected("at most 4096 characters, no control characters", _is_password)]
