"""The division of stations into shards, and the shares of static members."""

import pytest

from evse_mqtt_bridge.domain.shards import Share, parse_share, shard_of


def test_shard_of_is_the_same_in_every_version() -> None:
    """Members of different versions must agree, and a change would move every station."""
    assert [shard_of(uuid, 16) for uuid in ("25104c56d7f848af830af4300193efb3", "garage", "a")] == [0, 11, 3]


def test_shard_of_divides_stations_evenly() -> None:
    counts = [0] * 16
    for number in range(2000):
        counts[shard_of(f"{number:032x}", 16)] += 1
    assert min(counts) > 90
    assert max(counts) < 160


def test_share_has_each_station_once() -> None:
    uuids = [f"station-{number}" for number in range(50)]
    for shards in (1, 2, 7):
        shares = [Share(number, shards) for number in range(shards)]
        assert all(sum(share.has(uuid) for share in shares) == 1 for uuid in uuids)
    assert all(Share().has(uuid) for uuid in uuids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", {0}),
        ("0-3", {0, 1, 2, 3}),
        (" 0 - 2, 7 ", {0, 1, 2, 7}),
        ("0/3", {0, 3, 6}),
        ("2 / 3", {2, 5}),
        ("0/1", set(range(8))),
    ],
)
def test_parse_share_returns_the_shards(text: str, expected: set[int]) -> None:
    assert parse_share(text, 8) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "must be shards"),
        ("a", "must be shards"),
        ("0,,1", "must be shards"),
        ("-1", "must be shards"),
        ("3-1", "not an ascending range"),
        ("0-8", "the last one is 7"),
        ("3/3", "3/3 has no shard"),
        ("0/0", "0/0 has no shard"),
        ("9/10", "9/10 has no shard"),
    ],
)
def test_parse_share_of_a_wrong_text_raises(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_share(text, 8)
