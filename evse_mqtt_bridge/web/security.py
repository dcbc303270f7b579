"""Who is answered, and what browsers are told about each answer: nothing may be embedded, framed or read elsewhere.

There is no password, so a page of another site must not get at the answers through a visitor's browser. It cannot read
them, as no answer allows that (CORS). A name of such a site that is made to lead to a loopback address (DNS rebinding)
would, so while the bridge listens on loopback alone, it answers requests alone that name it by a loopback address.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = ["HEADERS", "REFUSED_HOST", "content_security_policy", "is_foreign", "is_loopback", "may_ask"]

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

REFUSED_HOST = (
    "This bridge answers on this machine alone, and only to requests for localhost, 127.0.0.1 or [::1].\n"
    'Ask for http://127.0.0.1, have your proxy send "Host: localhost", or set http.host to an address of the network.\n'
)
"""Said to a request that names another host."""


def content_security_policy(scripts: str = "", styles: str = "") -> str:
    """The policy of a document that has these scripts and styles in it, named by their hashes, and nothing else."""
    rules = ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    if scripts:
        rules += [f"script-src {scripts}", f"style-src {styles}", "connect-src 'self'", "img-src data:"]
    return "; ".join(rules)


HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": content_security_policy(),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
        "Server": "evse-mqtt-bridge",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
"""Headers of every answer, unless it has its own."""


def is_loopback(host: str) -> bool:
    """Whether `http.host` is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def may_ask(listening_on: str, host: str | None) -> bool:
    """Whether a request with this Host header is answered; `listening_on` is `http.host`."""
    if not is_loopback(listening_on):
        return True
    try:
        name = urlsplit(f"//{host or ''}").hostname
    except ValueError:
        return False
    return name is not None and name in _LOCAL_NAMES | {listening_on.lower()}


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that the request comes from a page of another site."""
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
