"""The schema of `[fleet]`: several bridges that share the stations."""

import re
import socket
from typing import Annotated, Literal

from pydantic import Field

from evse_mqtt_bridge.config.section import Section
from evse_mqtt_bridge.config.value_types import File, FleetName, Line, MemberName, Namespace, Password, Url
from evse_mqtt_bridge.domain.shards import MOST_SHARDS, parse_share

__all__ = ["Fleet", "FleetTls"]

_NAME_LENGTH = 64


class FleetTls(Section):
    """`[fleet.tls]`: files for https endpoints. Certificates are always verified."""

    ca_file: File = ""
    """PEM file with the CA of the endpoints' certificates, trusted in addition to the system's CAs. Default with
    "kubernetes": that of the service account."""
    cert_file: File = ""
    """PEM file with the client certificate of the member, if the engine requires one."""
    key_file: File = ""
    """PEM file with the private key of `cert_file`. Empty: the key is in `cert_file`."""


class Fleet(Section):
    """`[fleet]`: several bridges that share the stations, enabled by this table."""

    engine: Literal["etcd", "kubernetes", "static"]
    """How the members share the shards. "etcd" and "kubernetes": evenly, and other members take over the shards of a
    lost one. "static": each has those in `share`, and no other takes them over."""
    endpoints: Annotated[tuple[Url, ...], Field(strict=False, max_length=16)] = ()
    """With "etcd", the client URLs of the cluster; up to three are tried at a time. With "kubernetes", the API server;
    default: that of the pod."""
    member: MemberName = ""
    """Name of this member, which no other has. Default: the host name."""
    name: FleetName = ""
    """Name of the fleet in the engine, which no other fleet there has. Default: `mqtt.base_topic`."""
    shards: Annotated[int, Field(ge=1, le=MOST_SHARDS)] = 16
    """Number of shards into which the stations are divided; the same on every member. 1: the other members are
    standbys."""
    share: Line = ""
    """With "static", the shards of this member: "0-7" or "0, 2, 4", or "0/2" for the first of two equal parts."""
    ttl: Annotated[int, Field(ge=6, le=60)] = 10
    """Time in seconds after which a member that does not reach the engine is lost; "static" has no engine. With every
    engine and with "static", the broker waits twice this time before it publishes `offline` for a shard whose
    connection was lost, and `mqtt.keepalive` is at most this time unless you set it."""
    namespace: Namespace = ""
    """With "kubernetes", the namespace of the Leases. Default: that of the pod."""
    username: Annotated[Line, Field(max_length=1024)] = ""
    """With "etcd", the user, if etcd requires one."""
    password: Password | None = None
    """Password for `username`."""
    password_file: File = ""
    """File with the password, as an alternative to `password`. A newline at the end is ignored. With "kubernetes", the
    file with a token; default: that of the service account."""
    tls: FleetTls | None = None
    """Files for https endpoints."""

    @property
    def numbers(self) -> frozenset[int]:
        """The shards in `share`; none if an engine assigns them.

        Raises:
            ValueError: `share` is invalid.
        """
        return parse_share(self.share, self.shards) if self.engine == "static" else frozenset()

    @property
    def member_name(self) -> str:
        """The name of the member: `member`, or the host name in the characters of such names."""
        return self.member or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:_NAME_LENGTH] or "member"
