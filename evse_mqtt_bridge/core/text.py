"""Text from outside, made fit for a log line or a name."""

import re

__all__ = ["clean"]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\s]+")


def clean(text: str, limit: int = 64) -> str:
    """`text` as one line of at most `limit` characters: control, bidirectional and white space folded to a space."""
    line = _UNPRINTABLE.sub(" ", text[: limit * 4]).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
