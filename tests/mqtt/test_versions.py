"""The MQTT version: which one follows a refusal, and whether it is kept."""

import pytest

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected, VersionDoubt
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.mqtt.versions import Version
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.harness.net import HOST
from tests.mqtt.packets import connack
from tests.mqtt.raw_broker import answer_nothing, raw_broker

_AUTO = Version.configured("auto")
_NONE, _POSSIBLE, _CERTAIN = VersionDoubt.NONE, VersionDoubt.POSSIBLE, VersionDoubt.CERTAIN


@pytest.mark.parametrize(
    ("version", "doubt", "expected"),
    [
        (_AUTO, _NONE, None),
        (_AUTO, _POSSIBLE, "3.1.1"),
        (_AUTO, _CERTAIN, "3.1.1"),
        (_AUTO.accepted(), _POSSIBLE, None),
        (_AUTO.accepted(), _CERTAIN, "3.1.1"),
        (Version("3.1.1", is_fixed=False, is_accepted=True), _POSSIBLE, None),
        (Version("3.1.1", is_fixed=False, is_accepted=True), _CERTAIN, "5"),
        (Version.configured("5"), _CERTAIN, None),
        (Version.configured("3.1.1"), _CERTAIN, None),
    ],
)
def test_version_after_a_refusal(version: Version, doubt: VersionDoubt, expected: str | None) -> None:
    other = version.alternative(Disconnected(DisconnectReason.REFUSED, "", doubt))
    assert (other.current if other else None) == expected


def test_fallback_is_an_accepted_older_version() -> None:
    assert not _AUTO.accepted().is_fallback
    assert not Version.configured("3.1.1").accepted().is_fallback
    assert Version("3.1.1", is_fixed=False).accepted().is_fallback


_OLD_ANSWERS = [connack(1, None), connack(0x84), b""]


@pytest.mark.parametrize("refusal", _OLD_ANSWERS, ids=["return code 1", "reason code 0x84", "closed"])
async def test_refused_mqtt_5_leads_to_mqtt_3_1_1(refusal: bytes) -> None:
    def accept(is_v5: bool) -> bytes:  # as the broker calls it
        return refusal if is_v5 else connack(0, None)

    async with (
        raw_broker(answer_nothing, accept=accept) as broker,
        one_shot_client(Mqtt(host=HOST, port=broker.port), "test") as client,
    ):
        assert client.version == "3.1.1"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (connack(5, None), connack(1, None), "Not authorized"),
        (b"", b"", "closed the connection"),
        (connack(5, None), b"", "closed the connection"),
    ],
)
async def test_error_of_the_likely_version_is_reported(old: bytes, new: bytes, expected: str) -> None:
    def accept(is_v5: bool) -> bytes:  # as the broker calls it
        return new if is_v5 else old

    async with raw_broker(answer_nothing, accept=accept) as broker:
        with pytest.raises(UnavailableError, match=expected):
            async with one_shot_client(Mqtt(host=HOST, port=broker.port), "test"):
                pass
