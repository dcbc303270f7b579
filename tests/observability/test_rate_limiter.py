"""The number of lines that pass per minute."""

from evse_mqtt_bridge.observability.rate_limiter import RateLimiter


def test_rate_limiter_within_minute_allows_up_to_limit() -> None:
    limiter = RateLimiter(3)
    assert [limiter.allows(1000 + second) for second in (0, 1, 2, 3, 59)] == [True, True, True, False, False]


def test_rate_limiter_returns_suppressed_after_the_minute() -> None:
    limiter = RateLimiter(3)
    for second in (0, 1, 2, 3, 59):
        limiter.allows(1000 + second)
    assert limiter.pop_suppressed(1059) == 0, "the minute is not over"
    assert limiter.pop_suppressed(1060) == 2
    assert limiter.pop_suppressed(1060) == 0
    assert [limiter.allows(1061) for _ in range(4)] == [True, True, True, False]


def test_rate_limiter_without_suppressed_lines_is_reset() -> None:
    limiter = RateLimiter(1)
    assert [limiter.allows(second) for second in (1000, 1061, 1122)] == [True, True, True]
