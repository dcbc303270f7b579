"""The claim numbers on the broker, with other members and engines that count anew."""

import pytest

from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.claim_numbers import ClaimNumbers

_OTHER, _OWN = Claim(0, "m2", 7), Claim(0, "m1", 7)


@pytest.mark.parametrize(
    ("published", "number", "expected"),
    [(None, 3, 3), (_OTHER, 3, 8), (_OTHER, 9, 9), (_OWN, 3, 7), (_OWN, 9, 9)],
)
def test_begun_shard_has_a_number_above_others(published: Claim | None, number: int, expected: int) -> None:
    numbers = ClaimNumbers("m1", lambda _: published)
    numbers.engine_id = "e"
    assert numbers.begin(0, number) == Claim(0, "m1", expected, "e")
    assert numbers.renumbered(0, number) is None
    assert list(numbers.shards) == [0]


@pytest.mark.parametrize(("claim", "raised"), [(_OTHER, 8), (_OWN, 7), (Claim(0, "m2", 2), None)])
def test_number_rises_with_the_claims_on_the_broker(claim: Claim, raised: int | None) -> None:
    published: list[Claim] = []
    numbers = ClaimNumbers("m1", lambda _: published[0] if published else None)
    numbers.begin(0, 3)
    published.append(claim)
    assert numbers.is_surpassed(0) is (claim == _OTHER)
    assert numbers.raised(0, 3) == (None if raised is None else Claim(0, "m1", raised))
    assert not numbers.is_surpassed(0)


def test_dropped_shard_has_no_number_to_raise() -> None:
    numbers = ClaimNumbers("m1", lambda _: _OTHER)
    numbers.begin(0, 3)
    numbers.end(0)
    assert numbers.raised(0, 3) is None
    assert not numbers.shards
