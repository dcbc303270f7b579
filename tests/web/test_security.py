"""Who is answered."""

import pytest

from evse_mqtt_bridge.web.security import is_foreign, is_loopback, may_ask


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "bridge.example", "localhost.example"])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9480", "LocalHost:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:9480"]
)
@pytest.mark.parametrize("listening_on", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_its_own_names_are_answered(listening_on: str, host: str) -> None:
    assert may_ask(listening_on, host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:9480",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "192.0.2.7",
        "[::1",
        "[::2]",
        "::1",
    ],
)
def test_on_loopback_no_other_name_is_answered(host: str | None) -> None:
    assert not may_ask("127.0.0.1", host)


def test_another_loopback_address_is_answered_by_that_name() -> None:
    assert may_ask("127.0.0.2", "127.0.0.2:9480")


@pytest.mark.parametrize("listening_on", ["0.0.0.0", "::", "192.0.2.7", "bridge.example"])
@pytest.mark.parametrize("host", [None, "bridge.example", "evil.example:9480"])
def test_on_a_network_any_name_is_answered(listening_on: str, host: str | None) -> None:
    assert may_ask(listening_on, host)


@pytest.mark.parametrize(
    ("site", "foreign"),
    [(None, False), ("same-origin", False), ("none", False), ("cross-site", True), ("same-site", True)],
)
def test_a_browser_says_whose_page_asks(site: str | None, foreign: bool) -> None:
    assert is_foreign({"Sec-Fetch-Site": site} if site else {}) == foreign
