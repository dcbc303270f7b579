"""The transport that the settings select, and the errors for a libcurl that cannot be used."""

import sys

import pytest

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.cloud.transport import choose_transport, why_slow
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.support.errors import ConfigError

_PYCURL_MISSING = "pycurl is missing; run `pip install '.[fast]'` in the source folder of the bridge"


def _settings(transport: str) -> Cloud:
    return Cloud.model_validate({"base_url": "https://127.0.0.1:1", "transport": transport})


def _hide_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    package = "evse_mqtt_bridge.cloud.transport"
    for name in ("libcurl", "curl_exchange", "curl_loop"):
        monkeypatch.delitem(sys.modules, f"{package}.{name}", raising=False)
        monkeypatch.delattr(f"{package}.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "pycurl", None)


def test_libcurl_without_pycurl_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_pycurl(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        choose_transport(_settings("libcurl"))
    assert str(caught.value) == f"cloud.transport: libcurl cannot be used: {_PYCURL_MISSING}"


@pytest.mark.parametrize(
    ("setting", "name", "class_name"),
    [
        ("auto", "libcurl", "LibcurlTransport"),
        ("libcurl", "libcurl", "LibcurlTransport"),
        ("httpx", "httpx", "HttpxPools"),
        ("aiohttp", "httpx", "HttpxPools"),
    ],
)
async def test_setting_selects_its_transport(setting: str, name: str, class_name: str) -> None:
    pytest.importorskip("pycurl")
    choice = choose_transport(_settings(setting))
    assert choice.name == name
    transport = choice.create()
    assert type(transport).__name__ == class_name
    await transport.aclose()
    async with CloudClient(_settings(setting)) as client:
        assert client.transport_name == name


def test_auto_without_pycurl_selects_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide_pycurl(monkeypatch)
    assert choose_transport(_settings("auto")).name == "httpx"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("auto", _PYCURL_MISSING), ("httpx", ""), ("aiohttp", "")],
)
def test_missing_pycurl_is_why_auto_is_slow(monkeypatch: pytest.MonkeyPatch, setting: str, reason: str) -> None:
    assert not why_slow(_settings(setting))
    _hide_pycurl(monkeypatch)
    assert why_slow(_settings(setting)) == reason


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ((11, "7.68.0", 0x074400, "Linux", 0, "OpenSSL/1.1.1f"), "it is version 7.68, and 7.84 is needed"),
        ((11, "8.5.0", 0x080500, "Linux", 0, "GnuTLS/3.8.3"), "it was built with GnuTLS/3.8.3, and OpenSSL is needed"),
        ((11, "8.5.0", 0x080500, "Linux", 0, None), "it was built with no TLS, and OpenSSL is needed"),
    ],
)
def test_unsuitable_libcurl_is_not_used(
    monkeypatch: pytest.MonkeyPatch, version: tuple[object, ...], text: str
) -> None:
    pycurl = pytest.importorskip("pycurl")
    monkeypatch.setattr(pycurl, "version_info", lambda: version)
    assert choose_transport(_settings("auto")).name == "httpx"
    with pytest.raises(ConfigError, match=text):
        choose_transport(_settings("libcurl"))
