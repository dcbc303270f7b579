"""The requests that the server accepts."""

import pytest

from evse_mqtt_bridge.web.security import is_allowed_host, is_cross_site, is_local_client


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9480", "LocalHost:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:9480"]
)
@pytest.mark.parametrize("bind_host", ["127.0.0.1", "localhost", "::1"])
def test_is_allowed_host_on_loopback_accepts_loopback_names(bind_host: str, host: str) -> None:
    assert is_allowed_host(bind_host, host)


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
def test_is_allowed_host_on_loopback_rejects_other_names(host: str | None) -> None:
    assert not is_allowed_host("127.0.0.1", host)


def test_is_allowed_host_accepts_own_loopback_address() -> None:
    assert is_allowed_host("127.0.0.2", "127.0.0.2:9480")


@pytest.mark.parametrize("bind_host", ["0.0.0.0", "::", "192.0.2.7", "bridge.example"])
@pytest.mark.parametrize("host", [None, "bridge.example", "evil.example:9480"])
def test_is_allowed_host_on_network_accepts_any_name(bind_host: str, host: str | None) -> None:
    assert is_allowed_host(bind_host, host)


@pytest.mark.parametrize(
    ("site", "cross_site"),
    [(None, False), ("same-origin", False), ("none", False), ("cross-site", True), ("same-site", True)],
)
def test_is_cross_site_reads_sec_fetch_site(site: str | None, cross_site: bool) -> None:
    assert is_cross_site({"Sec-Fetch-Site": site} if site else {}) == cross_site


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        (("127.0.0.1", 40000), True),
        (("127.8.8.8", 40000), True),
        (("::1", 40000, 0, 0), True),
        (("::ffff:127.0.0.1", 40000, 0, 0), True),
        (("172.17.0.1", 40000), False),
        (("::ffff:172.17.0.1", 40000, 0, 0), False),
        (("2001:db8::1", 40000, 0, 0), False),
        (None, False),
    ],
)
def test_local_client_is_on_this_machine(peer: tuple[str, int] | None, *, is_local: bool) -> None:
    assert is_local_client(peer) is is_local
