"""The engine that a configuration selects, as it connects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.fleet.engines import create_engine
from evse_mqtt_bridge.support.errors import ConfigError
from tests.fleet.engine_checks import record
from tests.harness import Authority
from tests.harness.etcd import EtcdServer
from tests.harness.kubernetes import KubernetesServer


def configuration(**fleet: Any) -> Config:  # noqa: ANN401  # any setting
    return Config.model_validate({"mqtt": {"host": "localhost", "base_topic": "site/evse"}, "fleet": fleet})


@pytest.fixture
def service_account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("token")
    (tmp_path / "namespace").write_text("evse")
    return tmp_path


@pytest.mark.parametrize("fleet", [{}, {"fleet": {"engine": "static", "share": "0"}}])
def test_bridge_without_an_engine_has_none(fleet: Mapping[str, Any]) -> None:
    assert create_engine(Config.model_validate({"mqtt": {"host": "localhost"}, **fleet})) is None


async def test_etcd_with_tls_and_password_file(tmp_path: Path, authority: Authority) -> None:
    with EtcdServer(tmp_path / "etcd", certificate=authority.issue()) as etcd:
        (tmp_path / "password").write_text("pass\n")
        tls = {"ca_file": str(authority.ca_file)}
        settings = {"username": "bridge", "password": "pass", "password_file": str(tmp_path / "password"), "tls": tls}
        engine = create_engine(configuration(engine="etcd", endpoints=[etcd.url], member="m1", **settings))
        assert engine is not None
        assert (await engine.beat(record())).members == {"m1": record()}
        await engine.aclose()
        keys = etcd.control(f"--cacert={authority.ca_file}", "get", "--prefix", "--keys-only", "/")
        assert keys.split() == ["/evse-mqtt-bridge/site/evse/members/m1"]


async def test_kubernetes_in_a_namespace(service_account: Path) -> None:
    async with KubernetesServer() as server:
        engine = create_engine(
            configuration(engine="kubernetes", endpoints=[server.url], member="m1"), service_account, {}
        )
        assert engine is not None
        assert (await engine.beat(record())).members == {"m1": record()}
        await engine.aclose()
        assert len(server.leases) == 2


async def test_kubernetes_in_a_pod_uses_its_server(service_account: Path, authority: Authority) -> None:
    (service_account / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "6443"}
    engine = create_engine(configuration(engine="kubernetes"), service_account, environ)
    assert engine is not None
    await engine.aclose()


def test_kubernetes_outside_of_a_pod_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fleet\.engine: requires a pod of Kubernetes; outside of one, set"):
        create_engine(configuration(engine="kubernetes"), tmp_path, {})
    settings = configuration(engine="kubernetes", endpoints=["http://127.0.0.1:1"])
    with pytest.raises(ConfigError, match=r"fleet\.namespace: is missing"):
        create_engine(settings, tmp_path, {})
