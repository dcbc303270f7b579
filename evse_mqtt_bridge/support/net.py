"""Host names, addresses and ports as text."""

__all__ = ["host_and_port"]


def host_and_port(host: str, port: int) -> str:
    """As they stand in an address: an IPv6 address is in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
