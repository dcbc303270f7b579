"""A bounded set of keys."""

from evse_mqtt_bridge.observability.recent_keys import RecentKeys


def test_recent_keys_report_only_new_keys() -> None:
    keys = RecentKeys(10)
    assert [keys.add((key,)) for key in "aba"] == [True, True, False]
    keys.clear()
    assert keys.add(("a",))


def test_recent_keys_beyond_limit_drop_the_oldest() -> None:
    keys = RecentKeys(1000)
    for index in range(5000):
        keys.add(("topic", f"evse/{index}"))
    assert len(keys) == 1000
    assert not keys.add(("topic", "evse/4999"))
    assert keys.add(("topic", "evse/0"))
