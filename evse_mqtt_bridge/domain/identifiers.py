"""Validates the identifiers of stations and plugs: vendor IDs and user-defined aliases, both one topic level."""

import re
import unicodedata

__all__ = ["ALIAS", "ID", "is_alias", "is_id", "suggest_alias"]

_LONGEST = 64

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A vendor ID. It is part of URLs and topics without escaping."""

ALIAS = re.compile(r"[\w-]{1,64}")
"""An alias: letters and digits of any script, `_` and `-`. Every vendor ID is a valid alias."""


def is_id(value: object) -> bool:
    """Return whether `value` is a valid vendor ID."""
    return isinstance(value, str) and ID.fullmatch(value) is not None


def is_alias(value: object) -> bool:
    """Return whether `value` is a valid alias."""
    return isinstance(value, str) and ALIAS.fullmatch(value) is not None


def suggest_alias(name: str) -> str:
    """Return an alias made from a name: in lower case, without accents, with `-` between words; may be empty."""
    letters = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return "-".join(re.findall(r"\w+", "".join(letters).lower()))[:_LONGEST].rstrip("-")
