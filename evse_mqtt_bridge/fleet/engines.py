"""Creates the engine that a configuration selects."""

from functools import partial
from pathlib import Path

from evse_mqtt_bridge.config.fleet import Fleet
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.secrets import read_secret
from evse_mqtt_bridge.fleet.etcd import Etcd, EtcdLogin
from evse_mqtt_bridge.fleet.identity import Identity
from evse_mqtt_bridge.fleet.port import Engine
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["create_engine"]


def create_engine(config: Config) -> Engine | None:
    """Return the engine, whose first call connects; `None`: the configuration has no fleet, or its shares are static.

    Raises:
        ConfigError: A file for TLS cannot be used.
    """
    fleet = config.fleet
    if fleet is None or fleet.engine == "static":
        return None
    identity = Identity(fleet.name or config.mqtt.base_topic, fleet.member_name, fleet.ttl)
    return _etcd(fleet, identity)


def _etcd(fleet: Fleet, identity: Identity) -> Etcd:
    context = None
    if any(endpoint.startswith("https:") for endpoint in fleet.endpoints):
        files = (fleet.tls.ca_file, fleet.tls.cert_file, fleet.tls.key_file) if fleet.tls else ()
        context = client_context("fleet.tls", *files)
    return Etcd(fleet.endpoints, identity, login=_login(fleet), context=context)


def _login(fleet: Fleet) -> EtcdLogin | None:
    if not fleet.username or fleet.password is None:
        return None
    if fleet.password_file:
        return EtcdLogin(fleet.username, partial(read_secret, Path(fleet.password_file)))
    return EtcdLogin(fleet.username, fleet.password.get_secret_value)
