"""Encodes the record of a member for the engine, and decodes the records of others, whatever they contain."""

import re
from dataclasses import replace
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from evse_mqtt_bridge.fleet.port import MemberRecord
from evse_mqtt_bridge.support.text import clean

__all__ = ["decode_record", "encode_record", "is_member_name"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URL_LENGTH = 2048
_RECORD = TypeAdapter(MemberRecord)


def is_member_name(text: str) -> bool:
    """Return whether a text can be the name of a member."""
    return _NAME.fullmatch(text) is not None


def encode_record(record: MemberRecord) -> str:
    """Return the JSON text of a record."""
    return _RECORD.dump_json(record).decode()


def decode_record(name: str, text: str | bytes) -> MemberRecord:
    """Return the record of a member; one that cannot be read is of an unfit member with an unknown configuration.

    Keys that a later version added are ignored.

    Args:
        name: The name under which the engine has the record, which counts.
        text: The JSON text.
    """
    try:
        record = _RECORD.validate_json(text)
    except ValidationError:
        return MemberRecord(name, instance="", shards=0, digest="", version="", is_fit=False)
    return replace(record, name=name, version=clean(record.version), page=record.page if _is_url(record.page) else "")


def _is_url(text: str) -> bool:
    try:
        return text.isprintable() and len(text) <= _URL_LENGTH and urlsplit(text).scheme in {"http", "https"}
    except ValueError:  # a malformed IPv6 address
        return False
