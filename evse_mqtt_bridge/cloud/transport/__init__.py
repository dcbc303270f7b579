"""What carries the requests, behind httpx's transport interface: libcurl where pycurl is installed, else aiohttp.

Both do the same to the outside: they follow no redirect, keep no cookie, decode nothing, read the body of a 200 alone
and no more of it than allowed, give a whole request one deadline, and take nothing from the environment but a proxy,
where they are told to. The tests of the client run on either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx

from evse_mqtt_bridge.cloud.transport.limits import Limits
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.tls import check_ca_file, client_context

__all__ = ["Choice", "Limits", "chosen"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport by the `name` of its library; `make` makes it on the running event loop, `aclose()` closes it."""

    name: str
    make: Callable[[], httpx.AsyncBaseTransport]


def chosen(settings: Cloud, body_limit: int) -> Choice:
    """The transport that `settings.transport` names; only its library is imported.

    Raises:
        ConfigError: pycurl is named and cannot be used, or `settings.ca_file` cannot be.
    """
    limits = Limits(settings.max_concurrency, settings.timeout, body_limit)
    if settings.transport != "aiohttp":
        lacking = _lacking()
        if not lacking:
            from evse_mqtt_bridge.cloud.transport import libcurl  # noqa: PLC0415  # an optional extra

            check_ca_file("cloud", settings.ca_file)
            make = partial(
                libcurl.Transport, limits, ca_file=settings.ca_file, environment_proxy=settings.environment_proxy
            )
            return Choice("libcurl", make)
        if settings.transport == "libcurl":
            raise ConfigError(Problem(f"libcurl cannot be used: {lacking}", key="cloud.transport"))
    from evse_mqtt_bridge.cloud.transport import on_aiohttp  # noqa: PLC0415  # the other one needs none of it

    tls = client_context("cloud", settings.ca_file)
    other = partial(on_aiohttp.Transport, limits, tls, environment_proxy=settings.environment_proxy)
    return Choice("aiohttp", other)


def _lacking() -> str:
    """What keeps libcurl from being used here, and what to do, or nothing."""
    try:
        from evse_mqtt_bridge.cloud.transport import libcurl  # noqa: PLC0415  # an optional extra
    except ImportError:
        return "install pycurl with: pip install 'evse-mqtt-bridge[fast]'"
    return libcurl.lacking()
