"""Makes paho accept every text that MQTT 5 allows in a property.

paho 2.2 treats U+FEFF as malformed and ends the connection. The standard allows this character ([MQTT-1.5.4-3]
requires that it is not stripped), and brokers forward it. So one retained message with U+FEFF in a user property, on a
topic that the bridge reads at the start, would keep the bridge disconnected forever.
"""

from paho.mqtt import properties
from paho.mqtt.exception import MalformedPacket

__all__ = ["patch_paho", "read_text"]


def read_text(buffer: bytes, limit: int) -> tuple[str, int]:
    """Return a text and its length in bytes, at most `limit`; replaces paho's `readUTF`.

    Raises:
        MalformedPacket: The text is longer than `limit`, or contains U+0000.
        UnicodeDecodeError: The text is not UTF-8, in which surrogates are invalid.
    """
    length = int.from_bytes(buffer[:2], "big")
    if limit < 2 or length > limit - 2 or len(buffer) < 2 + length:  # the length takes two bytes
        raise MalformedPacket("a text is longer than its packet")
    text = bytes(buffer[2 : 2 + length]).decode()
    if "\0" in text:
        raise MalformedPacket("[MQTT-1.5.4-2] U+0000 in a text")
    return text, length + 2


def patch_paho() -> None:
    """Replace paho's `readUTF` by `read_text`."""
    properties.readUTF = read_text
