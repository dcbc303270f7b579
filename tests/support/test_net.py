"""Host names, addresses and ports."""

import pytest

from evse_mqtt_bridge.support.net import (
    host_and_port,
    is_address,
    is_loopback,
    is_wildcard,
    local_address,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST", "localhost."])
def test_is_loopback_for_loopback_host_is_true(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.7", "bridge.example", "localhost.example"])
def test_is_loopback_for_other_host_is_false(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])
def test_is_wildcard_for_unspecified_address_is_true(host: str) -> None:
    assert is_wildcard(host)


@pytest.mark.parametrize("host", ["", "0", "127.0.0.1", "::1", "192.0.2.7", "localhost"])
def test_is_wildcard_for_other_host_is_false(host: str) -> None:
    assert not is_wildcard(host)


@pytest.mark.parametrize(
    ("bind_host", "host"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("127.0.0.2", "127.0.0.2"),
        ("2001:db8::7", "2001:db8::7"),
        ("bridge.example", "bridge.example"),
    ],
)
def test_local_address_replaces_wildcard_by_loopback(bind_host: str, host: str) -> None:
    assert local_address(bind_host) == host


@pytest.mark.parametrize(("host", "text"), [("192.0.2.7", "192.0.2.7:80"), ("h", "h:80"), ("::1", "[::1]:80")])
def test_host_and_port_puts_ipv6_address_in_brackets(host: str, text: str) -> None:
    assert host_and_port(host, 80) == text


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("2001:db8::7", True), ("localhost", False), ("", False), ("1.2.3", False)],
)
def test_is_address_is_false_for_names(host: str, *, expected: bool) -> None:
    assert is_address(host) is expected
