"""Reads the proxy from the environment, for `cloud.environment_proxy`."""

import errno
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from evse_mqtt_bridge.support.net import host_and_port

__all__ = ["Proxy", "named_proxy"]

_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the value of its `Proxy-Authorization` header, which only the proxy gets."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The URL of the proxy, without credentials."""
        return f"http://{host_and_port(self.host, self.port)}"


def named_proxy(scheme: str, host: str) -> Proxy | None:
    """Return the proxy that the environment names for a scheme and a host; `None` if there is none.

    Raises:
        OSError: The environment names a proxy that is not an HTTP proxy.
    """
    named = getproxies().get(scheme)
    if not named or proxy_bypass(host):
        return None
    message = "the environment names a proxy that is not http://host:port"
    try:
        url = urlsplit(named if "://" in named else f"http://{named}")
        port = _PORT if url.port is None else url.port
    except ValueError:
        raise OSError(errno.EINVAL, message) from None
    if not url.hostname or not port or url.scheme != "http":
        raise OSError(errno.EINVAL, message)
    if url.username is None:
        return Proxy(url.hostname, port)
    credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return Proxy(url.hostname, port, f"Basic {b64encode(credentials.encode()).decode()}")
