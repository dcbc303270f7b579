"""Rules about host names, addresses and ports: loopback, wildcard, and how they are written in a URL."""

from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["host_and_port", "is_address", "is_loopback", "is_wildcard", "local_address"]


def host_and_port(host: str, port: int) -> str:
    """Return `host:port` as in a URL, with an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_address(host: str) -> bool:
    """Return whether a host is an address, which needs no lookup."""
    return _address(host) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is reachable from this machine only."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def is_wildcard(host: str) -> bool:
    """Return whether a server that binds to `host` listens on all interfaces (`0.0.0.0` or `::`)."""
    address = _address(host)
    return address is not None and address.is_unspecified


def local_address(host: str) -> str:
    """Return the host at which this machine reaches a server that binds to `host`.

    A wildcard address is for binding only, so it is replaced by the loopback address of its family.
    """
    if not is_wildcard(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:  # a host name
        return None
