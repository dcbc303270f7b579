"""What may stand for a station or a plug as one level of a topic: the vendor's ids, and the aliases of the user."""

import re

__all__ = ["ALIAS", "ID", "is_alias", "is_id"]

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An id as the vendor gives it; it becomes a part of addresses and topics as it is."""

ALIAS = re.compile(r"[\w-]{1,64}")
"""An alias, or an id, which every alias may be: letters and digits of any script, `_` and `-`."""


def is_id(value: object) -> bool:
    """Whether `value` is text that may be an id."""
    return isinstance(value, str) and ID.fullmatch(value) is not None


def is_alias(value: object) -> bool:
    """Whether `value` is text that may take an id's place."""
    return isinstance(value, str) and ALIAS.fullmatch(value) is not None
