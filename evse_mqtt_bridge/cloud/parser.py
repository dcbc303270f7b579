"""Parses the responses of one station, and recognizes those that repeat the one before, with other times.

Most responses repeat all values of the one before. Then all bytes except the values of `time` are the same, so a hash
of these bytes is compared first, and only the time is parsed. wire.py parses all other responses.
"""

import re
from dataclasses import replace
from datetime import datetime

from evse_mqtt_bridge.cloud.wire import parse, parse_time
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Repeat

__all__ = ["ResponseParser"]

_TIME_KEYS = re.compile(rb'"time"\s*:')
_COMPACT_START = b'"time":"'
_SPACED_START = b'"time": "'
_ESCAPED_LETTERS = re.compile(rb"\\u00(?:74|69|6[dD]|65)")
"""Escapes of the letters of `time`, which no usual encoder writes. With them, `_TIME_KEYS` could miss a key."""


class ResponseParser:
    """The parser of the station `evse_uuid`."""

    __slots__ = ("_evse_uuid", "_fingerprint", "_notes")

    def __init__(self, evse_uuid: str) -> None:
        self._evse_uuid = evse_uuid
        self._fingerprint: int | None = None
        """The fingerprint of the last response; `None`: a repetition of it cannot be recognized."""
        self._notes: tuple[str, ...] = ()
        """The notes on the last response, if it has a fingerprint."""

    def parse(self, body: bytes) -> Outcome:
        """Return the reading; a `Repeat` if the response repeats the one before.

        A Failure if the response has no valid plug of the station.
        """
        time, fingerprint = _time_and_fingerprint(body)
        if time and fingerprint == self._fingerprint and (measured := _parsed_time(time)) is not None:
            return Repeat(fingerprint, measured, body, self.parse_completely, self._notes)
        return self._parse(body, time, fingerprint)

    def parse_completely(self, body: bytes) -> Reading | Failure:
        """Return the reading; a Failure if the response has no valid plug of the station."""
        return self._parse(body, *_time_and_fingerprint(body))

    def _parse(self, body: bytes, time: bytes, fingerprint: int) -> Reading | Failure:
        outcome = parse(body, self._evse_uuid)
        if time and isinstance(outcome, Reading) and _is_repeatable(body, outcome, time):
            self._fingerprint, self._notes = fingerprint, outcome.notes
            return replace(outcome, fingerprint=fingerprint)
        self._fingerprint, self._notes = None, ()
        return outcome


def _time_and_fingerprint(body: bytes) -> tuple[bytes, int]:
    """Return the time that all plugs have in common, and a hash of all other bytes.

    The time is empty if the plugs have different times, or none in a usual format. JSON contains no NUL, so if the
    joined bytes of two responses are equal, so are the parts between the times. Python's hash of bytes is SipHash with
    64 bits and a random key, so different responses practically never have the same hash.
    """
    first, *parts = body.split(_COMPACT_START if _COMPACT_START in body else _SPACED_START)
    time = parts[0].partition(b'"')[0] if parts else b""
    quoted, size = time + b'"', len(time)
    other_bytes = [first]
    for part in parts:
        if not part.startswith(quoted):
            return b"", 0
        other_bytes.append(part[size:])
    return time, hash(b"\0".join(other_bytes))


def _parsed_time(text: bytes) -> datetime | None:
    try:
        return parse_time(text.decode())
    except ValueError:
        return None


def _is_repeatable(body: bytes, reading: Reading, time: bytes) -> bool:
    """Return whether a later response with another time, and the same bytes otherwise, has the same values.

    This requires that each plug object has exactly one `time`, and that there is no other. Each plug has at least one,
    because its time is known, so it is enough to compare the number of `time` keys with the number of plugs.
    """
    measured = _parsed_time(time)
    return (
        not reading.invalid
        and measured is not None
        and len(_TIME_KEYS.findall(body)) == len(reading.plugs)
        and _ESCAPED_LETTERS.search(body) is None
        and all(plug.time == measured for plug in reading.plugs)
    )
