"""Parses the responses of one station, and recognizes those that repeat the one before, with other times.

Most responses repeat all values of the one before. The bytes without the values of `time` are then the same, so a hash
of them is compared first, and only the time is parsed. All other responses go through wire.py.
"""

import re
from dataclasses import replace
from datetime import datetime

from evse_mqtt_bridge.cloud.wire import parse, parse_time
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Repeat

__all__ = ["ResponseParser"]

_TIME_KEYS = re.compile(rb'"time"\s*:')
_USUAL_KEYS = (b'"time":"', b'"time": "')
_ESCAPED_LETTERS = re.compile(rb"\\u00(?:74|69|6[dD]|65)")
"""Escapes of the letters of `time`, which no usual encoder writes, but which could hide a key from the others."""


class ResponseParser:
    """The parser of the station `evse_uuid`."""

    __slots__ = ("_evse_uuid", "_fingerprint", "_notes")

    def __init__(self, evse_uuid: str) -> None:
        self._evse_uuid = evse_uuid
        self._fingerprint: int | None = None
        """That of the last response; `None`: a repetition of it cannot be recognized."""
        self._notes: tuple[str, ...] = ()
        """Those of the response with this fingerprint."""

    def parse(self, body: bytes) -> Outcome:
        """Return the reading, or that the response repeats the one before, measured later.

        A Failure if the response has no valid plug of the station.
        """
        time, fingerprint = _split(body)
        if time and fingerprint == self._fingerprint and (measured := _time(time)) is not None:
            return Repeat(fingerprint, measured, body, self.parse_completely, self._notes)
        return self._parse(body, time, fingerprint)

    def parse_completely(self, body: bytes) -> Reading | Failure:
        """Return the reading; a Failure if the response has no valid plug of the station."""
        return self._parse(body, *_split(body))

    def _parse(self, body: bytes, time: bytes, fingerprint: int) -> Reading | Failure:
        outcome = parse(body, self._evse_uuid)
        if time and isinstance(outcome, Reading) and _is_repeatable(body, outcome, time):
            self._fingerprint, self._notes = fingerprint, outcome.notes
            return replace(outcome, fingerprint=fingerprint)
        self._fingerprint, self._notes = None, ()
        return outcome


def _split(body: bytes) -> tuple[bytes, int]:
    """Return the time of all plugs, and a hash of everything else.

    The time is empty if the plugs have several, or none that is written in the usual way. JSON contains no NUL, so
    equal rests of two responses mean equal parts between the times. Python's hash of bytes is SipHash with 64 bits and
    a random key, so different responses practically never have the same hash.
    """
    usual, other = _USUAL_KEYS
    first, *parts = body.split(usual if usual in body else other)
    time = parts[0].partition(b'"')[0] if parts else b""
    quoted, size = time + b'"', len(time)
    rest = [first]
    for part in parts:
        if not part.startswith(quoted):
            return b"", 0
        rest.append(part[size:])
    return time, hash(b"\0".join(rest))


def _time(text: bytes) -> datetime | None:
    try:
        return parse_time(text.decode())
    except ValueError:
        return None


def _is_repeatable(body: bytes, reading: Reading, time: bytes) -> bool:
    """Return whether a later response with another time, and the same bytes otherwise, has the same values.

    That is so if each plug object has exactly one `time`, and there is no other. Each plug has at least one, because
    its time is known, and there are as many keys that look like `time` as plugs.
    """
    measured = _time(time)
    return (
        not reading.invalid
        and measured is not None
        and len(_TIME_KEYS.findall(body)) == len(reading.plugs)
        and _ESCAPED_LETTERS.search(body) is None
        and all(plug.time == measured for plug in reading.plugs)
    )
