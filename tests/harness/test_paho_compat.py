"""Texts in MQTT 5 properties, as paho reads them in the bridge."""

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import properties
from paho.mqtt.exception import MalformedPacket

from tests.harness.paho_compat import read_text


def test_connection_installs_the_reader_in_paho() -> None:
    importlib.import_module("evse_mqtt_bridge.mqtt.connection")
    assert properties.readUTF is read_text


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=100), st.binary(max_size=5))
def test_every_text_is_read_as_written(text: str, more: bytes) -> None:
    written = bytes(properties.writeUTF(text.encode()))  # type: ignore[no-untyped-call]  # paho's
    assert read_text(written + more, len(written) + len(more)) == (text, len(written))


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\5text", b"\0\1\0"])
def test_truncated_text_is_malformed(packet: bytes) -> None:
    with pytest.raises(MalformedPacket):
        read_text(packet, len(packet))


def test_surrogates_are_rejected() -> None:
    with pytest.raises(UnicodeDecodeError):
        read_text(b"\0\3\xed\xa0\x80", 5)
