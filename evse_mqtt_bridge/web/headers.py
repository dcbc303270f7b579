"""HTTP response headers: the content security policy, defaults for every response, and the headers that name a bridge.

This module imports the standard library only, so that the command `health` can use it.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CLIENT_ID_HEADER", "DEFAULT_HEADERS", "ERROR_HEADERS", "SERVER_NAME", "content_security_policy"]

SERVER_NAME = "evse-mqtt-bridge"
"""Value of the `Server` header of every response."""

CLIENT_ID_HEADER = "Bridge-Client-Id"
"""Header of /healthz with the URL-encoded MQTT client ID of the bridge, because several bridges may share a machine."""


def content_security_policy(scripts: str = "", styles: str = "") -> str:
    """Return the policy of a document that may run these scripts and styles, given as hashes, and load nothing else."""
    rules = ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    if scripts:
        rules += [f"script-src {scripts}", f"style-src {styles}", "connect-src 'self'", "img-src data:"]
    return "; ".join(rules)


DEFAULT_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": content_security_policy(),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
"""Headers of every response that does not set its own: no caching, no framing, no use by other sites."""

ERROR_HEADERS: Mapping[str, str] = MappingProxyType({**DEFAULT_HEADERS, "Server": SERVER_NAME})
"""Headers of responses that no handler creates, such as those to malformed requests."""
