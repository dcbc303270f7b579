"""The ids of devices in Home Assistant, which are also part of unique ids and discovery topics.

Two things never have the same id:

    evse_bridge_<client id>   evse_<station>   evse_<station>_<plug>

A uuid stands for itself if it has no `_`, which separates the parts. Any other uuid, and the uuid `bridge`, begins with
`_`, and has the code point in place of each `_` and `-`: `_garage-5fnorth`. The vendor's uuids are hexadecimal.

Version 0.1 used every uuid as it is. The manifest marks the entries of uuids that are now written differently, so that
an entry without this mark leads to the old ids, and their topics are cleared.
"""

import hashlib
import re

__all__ = ["bridge_id", "is_escaped", "plug_id", "station_id", "uuids"]

_BRIDGE = "bridge"
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_LENGTH = 8

_DEVICE = re.compile(r"evse_(_?[A-Za-z0-9-]+)(?:_(_?[A-Za-z0-9-]+))?")
_ESCAPE = re.compile(r"-(2d|5f)")


def bridge_id(client_id: str) -> str:
    """Return the id of a bridge, whose MQTT client id may have any characters."""
    cleaned = _UNFIT.sub("_", client_id)
    if cleaned != client_id:  # two client ids must not become one device
        cleaned += "_" + hashlib.sha256(client_id.encode(errors="replace")).hexdigest()[:_DIGEST_LENGTH]
    return f"evse_{_BRIDGE}_{cleaned}"


def station_id(uuid: str, *, is_legacy: bool = False) -> str:
    """Return the id of a station; `is_legacy`: as version 0.1 did."""
    return f"evse_{uuid if is_legacy else _part(uuid)}"


def plug_id(station_uuid: str, plug_uuid: str, *, is_legacy: bool = False) -> str:
    """Return the id of a plug; `is_legacy`: as version 0.1 did."""
    return f"{station_id(station_uuid, is_legacy=is_legacy)}_{plug_uuid if is_legacy else _part(plug_uuid)}"


def uuids(device_id: str) -> tuple[str, str]:
    """Return the uuids of the station and plug that have this id; empty texts for what it does not contain."""
    match = _DEVICE.fullmatch(device_id)
    return (_uuid(match[1]), _uuid(match[2] or "")) if match else ("", "")


def is_escaped(uuid: str) -> bool:
    """Return whether ids have another text in place of this uuid. `{plug_uuid}` stands for any uuid, as it is."""
    return ("_" in uuid or uuid == _BRIDGE) and not _UNFIT.search(uuid)


def _part(uuid: str) -> str:
    return "_" + uuid.replace("-", "-2d").replace("_", "-5f") if is_escaped(uuid) else uuid


def _uuid(part: str) -> str:
    """Return the uuid that `_part` wrote."""
    if not part.startswith("_"):
        return part
    return _ESCAPE.sub(lambda match: "-" if match[1] == "2d" else "_", part[1:])
