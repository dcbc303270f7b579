"""Lets paho read every text that MQTT 5 allows in a property.

paho 2.2 takes U+FEFF for malformed and ends the connection. The standard allows it: [MQTT-1.5.4-3] says that it is
never to be left out. Brokers pass it on, so that one retained message with it in a user property, on a topic that is
read at the start, would keep the bridge off its broker for good.
"""

from paho.mqtt import properties
from paho.mqtt.exception import MalformedPacket

__all__ = ["read_every_text", "read_text"]


def read_text(buffer: bytes, limit: int) -> tuple[str, int]:
    """A text and the bytes that it takes, at most `limit` of them; in place of paho's `readUTF`.

    Raises:
        MalformedPacket: it is longer than that, or has U+0000 in it.
        UnicodeDecodeError: it is not UTF-8; surrogates are not.
    """
    length = int.from_bytes(buffer[:2], "big")
    if limit < 2 or length > limit - 2 or len(buffer) < 2 + length:  # noqa: PLR2004  # the length takes two bytes
        raise MalformedPacket("a text is longer than its packet")
    text = bytes(buffer[2 : 2 + length]).decode()
    if "\0" in text:
        raise MalformedPacket("[MQTT-1.5.4-2] U+0000 in a text")
    return text, length + 2


def read_every_text() -> None:
    """Have paho read texts so."""
    properties.readUTF = read_text
