"""Parses the responses of one station, and saves most of the work if only the times have changed.

Most responses repeat all values of the one before. The bytes without the values of `time` are then the same, so a hash
of them is compared first, and only the times are parsed. All other responses go through wire.py.
"""

import re

from evse_mqtt_bridge.cloud.wire import parse, parse_time
from evse_mqtt_bridge.domain.model import Failure, PlugReading, Reading

__all__ = ["ResponseParser"]

_TIME_KEYS = re.compile(rb'"time"\s*:')
_USUAL_KEYS = (b'"time":"', b'"time": "')
_ESCAPED_LETTERS = re.compile(rb"\\u00(?:74|69|6[dD]|65)")
"""Escapes of the letters of `time`, which no usual encoder writes, but which could hide a key from the others."""

_NONE_INVALID: frozenset[str] = frozenset()


class ResponseParser:
    """The parser of the station `evse_uuid`."""

    __slots__ = ("_evse_uuid", "_hash", "_notes", "_plugs")

    def __init__(self, evse_uuid: str) -> None:
        self._evse_uuid = evse_uuid
        self._hash: int | None = None
        """The hash of the last response without its times; `None`: it cannot be reused."""
        self._plugs: tuple[PlugReading, ...] = ()
        self._notes: tuple[str, ...] = ()

    def parse(self, body: bytes) -> Reading | Failure:
        """Return the reading; a Failure if the response has no valid plug of the station."""
        times, rest = _split(body)
        # Python's hash of bytes is SipHash with 64 bits and a random key: what is equal by it is equal.
        hashed = hash(rest)
        if hashed == self._hash and (plugs := _with_times(self._plugs, times)) is not None:
            self._plugs = plugs
            return Reading(plugs, _NONE_INVALID, self._notes)
        outcome = parse(body, self._evse_uuid)
        if isinstance(outcome, Reading) and _is_reusable(body, outcome, times):
            self._hash, self._plugs, self._notes = hashed, outcome.plugs, outcome.notes
        else:
            self._hash, self._plugs, self._notes = None, (), ()
        return outcome


def _split(body: bytes) -> tuple[list[bytes], bytes]:
    """Return the values of `time` as far as they are written in the usual way, and everything else.

    JSON contains no NUL, so equal rests of two responses mean equal parts between the times.
    """
    usual, other = _USUAL_KEYS
    first, *parts = body.split(usual if usual in body else other)
    times = []
    rest = [first]
    for part in parts:
        time, _, after = part.partition(b'"')
        times.append(time)
        rest.append(after)
    return times, b"\0".join(rest)


def _is_reusable(body: bytes, reading: Reading, times: list[bytes]) -> bool:
    """Return whether a later response with other times, and the same bytes otherwise, has the same reading otherwise.

    That is so if each plug object has exactly one `time`, and there is no other. Each plug has at least one, because
    its time is known, and there are as many keys that look like `time` as plugs.
    """
    return (
        not reading.invalid
        and len(_TIME_KEYS.findall(body)) == len(times)
        and _ESCAPED_LETTERS.search(body) is None
        and all(plug.time is not None for plug in reading.plugs)
        and _with_times(reading.plugs, times) == reading.plugs
    )


def _with_times(readings: tuple[PlugReading, ...], times: list[bytes]) -> tuple[PlugReading, ...] | None:
    """Return readings with other times, one per plug; `None` if their number is another, or one is not a time."""
    if len(times) != len(readings):
        return None
    plugs = []
    text, time = b"", None
    for plug, raw in zip(readings, times, strict=True):
        if raw != text:  # mostly the same for all plugs
            try:
                text, time = raw, parse_time(raw.decode())
            except ValueError:
                return None
        plugs.append(
            PlugReading(
                plug.plug_uuid,
                plug.label,
                plug.status,
                plug.power,
                plug.current_l1,
                plug.current_l2,
                plug.current_l3,
                plug.dyn_current_limit,
                time,
            )
        )
    return tuple(plugs)
