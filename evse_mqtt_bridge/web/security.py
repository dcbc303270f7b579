"""Rules that keep pages of other sites from reading the bridge through the browser of a visitor.

There is no authentication. Browsers do not let pages of other sites read responses, because no response allows it
(CORS). DNS rebinding bypasses that: the attacker's host name resolves to a loopback address. Therefore a bridge that
listens on loopback only serves requests whose Host header names a loopback address.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from evse_mqtt_bridge.support.net import is_loopback

__all__ = ["HOST_NOT_ALLOWED", "is_allowed_host", "is_cross_site", "is_local_client"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HOST_NOT_ALLOWED = (
    "This bridge accepts connections from this machine only, and requests for localhost, 127.0.0.1 or [::1] only.\n"
    "Use http://127.0.0.1, configure your proxy to send the header `Host: localhost`, or set http.host to an address "
    "of the network.\n"
)
"""Body of the response to a request with another Host header."""


def is_allowed_host(bind_host: str, host_header: str | None) -> bool:
    """Return whether a server bound to `bind_host` (`http.host`) serves a request with this Host header."""
    if not is_loopback(bind_host):
        return True
    try:
        name = urlsplit(f"//{host_header or ''}").hostname
    except ValueError:
        return False
    return name is not None and name in _LOOPBACK_NAMES | {bind_host.lower()}


def is_local_client(peer: tuple[str, int] | None) -> bool:
    """Return whether a connection from this address and port comes from this machine; false if it is unknown."""
    return peer is not None and is_loopback(peer[0].removeprefix("::ffff:"))


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Return whether the browser reports that a page of another site sent the request."""
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
