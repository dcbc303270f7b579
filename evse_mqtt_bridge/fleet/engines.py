"""Creates the engine that a configuration selects."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from evse_mqtt_bridge.config.fleet import Fleet, FleetTls
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.secrets import read_secret
from evse_mqtt_bridge.config.shard_settings import fleet_name
from evse_mqtt_bridge.fleet.etcd import Etcd, EtcdLogin
from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.kubernetes import Kubernetes
from evse_mqtt_bridge.fleet.kubernetes_api import KubernetesApi
from evse_mqtt_bridge.fleet.port import CALL_LIMIT
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.net import host_and_port
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["SERVICE_ACCOUNT", "create_engine"]


SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder in which a pod finds the token of its service account, the CA of the API server, and its namespace."""


def create_engine(
    config: Config, service_account: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ
) -> Etcd | Kubernetes | None:
    """Return the engine, whose first call connects; `None`: the configuration has no fleet, or its shares are static.

    Args:
        config: The configuration.
        service_account: The folder of the service account.
        environ: The environment variables, which name the API server in a pod.

    Raises:
        ConfigError: A file for TLS cannot be used, or the process does not run in a pod.
    """
    fleet = config.fleet
    if fleet is None or fleet.engine == "static":
        return None
    identity = Identity(fleet_name(config), fleet.member_name, fleet.ttl)
    return _etcd(fleet, identity) if fleet.engine == "etcd" else _kubernetes(fleet, identity, service_account, environ)


def _etcd(fleet: Fleet, identity: Identity) -> Etcd:
    context = None
    if any(endpoint.startswith("https:") for endpoint in fleet.endpoints):
        files = (fleet.tls.ca_file, fleet.tls.cert_file, fleet.tls.key_file) if fleet.tls else ()
        context = client_context("fleet.tls", *files)
    return Etcd(fleet.endpoints, identity, login=_login(fleet), context=context)


def _kubernetes(fleet: Fleet, identity: Identity, service_account: Path, environ: Mapping[str, str]) -> Kubernetes:
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not fleet.endpoints and not host:
        message = "requires a pod of Kubernetes; outside of one, set fleet.endpoints and fleet.namespace"
        raise ConfigError(Problem(message, key="fleet.engine"))
    url = fleet.endpoints[0] if fleet.endpoints else f"https://{host_and_port(host, int(port))}"
    try:
        namespace = fleet.namespace or (service_account / "namespace").read_text("ascii").strip()
    except (OSError, ValueError):
        raise ConfigError(Problem("is missing, and there is no service account", key="fleet.namespace")) from None
    context = None
    if url.startswith("https:"):
        tls = fleet.tls or FleetTls()
        ca_file = tls.ca_file or str(service_account / "ca.crt")
        context = client_context("fleet.tls", ca_file, tls.cert_file, tls.key_file)
    limit = min(CALL_LIMIT, identity.ttl / 4)
    token_file = Path(fleet.password_file) if fleet.password_file else service_account / "token"
    return Kubernetes(KubernetesApi(url, namespace, token_file, limit, context), identity)


def _login(fleet: Fleet) -> EtcdLogin | None:
    if not fleet.username or fleet.password is None:
        return None
    if fleet.password_file:
        return EtcdLogin(fleet.username, partial(read_secret, Path(fleet.password_file)))
    return EtcdLogin(fleet.username, fleet.password.get_secret_value)
