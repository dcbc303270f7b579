"""Transports for the requests, behind httpx's interface: libcurl if pycurl is installed, else httpx's own.

Both behave the same: they follow no redirect, keep no cookie and decode no body. From the environment they use only the
proxy, and only if the settings enable it. The client sets deadlines and limits the size of bodies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx

from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.support import tls
from evse_mqtt_bridge.support.errors import ConfigError, Problem

__all__ = ["TransportChoice", "choose_transport", "why_slow"]


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """A transport, not yet created.

    Attributes:
        name: The name of its library, "libcurl" or "httpx".
        create: Creates it on the running event loop; `aclose()` closes it.
    """

    name: str
    create: Callable[[], httpx.AsyncBaseTransport]


def why_slow(settings: Cloud) -> str:
    """Return why the slower transport replaces libcurl, and what to do; empty if it does not, or if it was selected."""
    return _why_libcurl_is_unusable() if settings.transport == "auto" else ""


def choose_transport(settings: Cloud) -> TransportChoice:
    """Return the transport that `settings.transport` selects; only its library is imported.

    Raises:
        ConfigError: The settings name libcurl, which cannot be used, or `settings.ca_file` cannot be used.
    """
    if settings.transport in ("auto", "libcurl"):
        reason = _why_libcurl_is_unusable()
        if not reason:
            from evse_mqtt_bridge.cloud.transport.libcurl import LibcurlTransport  # noqa: PLC0415  # an optional extra

            tls.check_ca_file("cloud", settings.ca_file)
            return TransportChoice(
                "libcurl",
                partial(
                    LibcurlTransport,
                    settings.max_concurrency,
                    ca_file=settings.ca_file,
                    environment_proxy=settings.environment_proxy,
                ),
            )
        if settings.transport == "libcurl":
            raise ConfigError(Problem(f"libcurl cannot be used: {reason}", key="cloud.transport"))
    from evse_mqtt_bridge.cloud.transport.httpx_pools import HttpxPools  # noqa: PLC0415  # libcurl needs none of it

    context = tls.client_context("cloud", settings.ca_file)
    return TransportChoice(
        "httpx", partial(HttpxPools, settings.max_concurrency, context, environment_proxy=settings.environment_proxy)
    )


def _why_libcurl_is_unusable() -> str:
    """Return why libcurl cannot be used here, and what to do; empty if it can be used."""
    try:
        from evse_mqtt_bridge.cloud.transport import libcurl  # noqa: PLC0415  # an optional extra
    except ImportError:
        return "pycurl is missing; run `pip install '.[fast]'` in the source folder of the bridge"
    return libcurl.why_unusable()
