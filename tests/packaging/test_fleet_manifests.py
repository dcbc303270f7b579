"""The files that deploy fleets match the single bridge, the configuration's schema, and what the engines need."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs

from evse_mqtt_bridge.config.schema import Config
from tests.harness.etcd import EtcdServer
from tests.packaging.test_manifests import (
    COMPOSE,
    COMPOSED,
    KUBERNETES_TEXT,
    MANIFESTS,
    ROOT,
    _loaded,
)

FLEET = ROOT / "deploy/kubernetes-fleet"
STATIC = ROOT / "deploy/kubernetes-static"
OVERRIDES: dict[str, Any] = yaml.safe_load((COMPOSE / "fleet.yaml").read_text())
PATCH: dict[str, Any] = yaml.safe_load((FLEET / "deployment.yaml").read_text())
STATEFUL_SET: dict[str, Any] = yaml.safe_load((STATIC / "statefulset.yaml").read_text())
NAME = "evse-mqtt-bridge"


def merged(base: Any, patch: Any) -> Any:  # noqa: ANN401  # YAML
    """Return a strategic merge, as kustomize does it: tables by key, lists of named elements by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        result = {key: merged(base[key], patch[key]) if key in base else patch[key] for key in patch}
        return {**base, **result}
    if isinstance(base, list) and all(isinstance(each, dict) and "name" in each for each in (*base, *patch)):
        changes = {each["name"]: each for each in patch}
        kept = [merged(each, changes.pop(each["name"], {})) for each in base]
        return [*kept, *changes.values()]
    return copy.deepcopy(patch)


def configuration(text: str, environment: dict[str, str], folder: Path) -> Config:
    return _loaded(text, environment, folder)


# Compose


@pytest.mark.parametrize("name", ["bridge", "bridge-2"])
def test_composed_members_have_an_engine_and_a_name(name: str, tmp_path: Path) -> None:
    service = merged(COMPOSED["services"].get(name, {}), OVERRIDES["services"][name])
    config = configuration((COMPOSE / "bridge/config.toml").read_text(), service["environment"], tmp_path)
    assert config.fleet is not None
    assert config.fleet.endpoints == (f"http://etcd:{OVERRIDES['services']['etcd']['command'][4].rsplit(':', 1)[1]}",)
    assert config.http.host == "0.0.0.0"
    assert service["hostname"] == ("bridge-1" if name == "bridge" else "bridge-2")


def test_composed_members_differ_only_where_they_must() -> None:
    first = merged(COMPOSED["services"]["bridge"], OVERRIDES["services"]["bridge"])
    second = OVERRIDES["services"]["bridge-2"]
    assert first.keys() - second.keys() == {"build"}  # one image
    different = {key for key in second if first[key] != second[key]}
    assert different == {"hostname", "volumes", "ports"}
    volumes = {mount.split(":")[0] for mount in (*first["volumes"], *second["volumes"])}
    assert volumes == {"./bridge", "bridge-data", "bridge-2-data"}
    assert {"bridge-2-data", "etcd-data"} == OVERRIDES["volumes"].keys()


def test_composed_services_are_restricted() -> None:
    for name in ("etcd", "bridge-2"):
        service = OVERRIDES["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["healthcheck"]["test"][0] == "CMD"


def test_composed_etcd_has_a_tested_version() -> None:
    version = OVERRIDES["services"]["etcd"]["image"].rsplit(":v", 1)[1]
    tested = re.search(r"\(tested: ([^)]+)\)", (ROOT / "docs/fleet.md").read_text())
    assert tested is not None
    assert version in tested[1].split(" and ")


def test_composed_etcd_accepts_its_arguments(tmp_path: Path) -> None:
    program, *arguments = OVERRIDES["services"]["etcd"]["command"]
    assert program == "etcd"
    others = ("--name", "--data-dir", "--listen", "--advertise")
    kept = [argument for argument in arguments if not argument.startswith(others)]
    with EtcdServer(tmp_path / "etcd", arguments=kept) as etcd:
        assert etcd.control("endpoint", "health") is not None


# Kubernetes


def test_fleet_of_pods_has_a_valid_configuration(tmp_path: Path) -> None:
    pod = merged(MANIFESTS["deployment"], PATCH)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    config = configuration(KUBERNETES_TEXT, environment, tmp_path)
    assert config.fleet is not None
    assert config.fleet.engine == "kubernetes"
    assert container["image"] == NAME
    assert pod["automountServiceAccountToken"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_fleet_of_pods_is_updated_one_by_one(tmp_path: Path) -> None:
    spec = merged(MANIFESTS["deployment"], PATCH)["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    environment = {each["name"]: each["value"] for each in spec["template"]["spec"]["containers"][0]["env"]}
    fleet = configuration(KUBERNETES_TEXT, environment, tmp_path).fleet
    assert fleet is not None
    assert spec["minReadySeconds"] > 3 * fleet.ttl  # a new member gets shards only then
    tolerations = spec["template"]["spec"]["tolerations"]
    keys = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
    assert {each["key"] for each in tolerations} == keys
    assert all(each["effect"] == "NoExecute" and each["tolerationSeconds"] == 60 for each in tolerations)


def test_service_account_has_exactly_the_rights_on_leases() -> None:
    account, role, binding = yaml.safe_load_all((FLEET / "rbac.yaml").read_text())
    verbs = ["get", "list", "create", "update", "delete"]
    assert role["rules"] == [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAME}]
    assert account["metadata"]["name"] == PATCH["spec"]["template"]["spec"]["serviceAccountName"] == NAME


def test_disruption_budget_covers_the_pods() -> None:
    budget = yaml.safe_load((FLEET / "disruption-budget.yaml").read_text())
    assert budget["spec"]["selector"] == MANIFESTS["deployment"]["spec"]["selector"]
    assert budget["spec"]["minAvailable"] < PATCH["spec"]["replicas"]


def test_static_shares_of_all_pods_cover_all_shards(tmp_path: Path) -> None:
    numbers: list[int] = []
    for index in range(STATEFUL_SET["spec"]["replicas"]):
        variables = STATEFUL_SET["spec"]["template"]["spec"]["containers"][0]["env"]
        environment = {each["name"]: each["value"] for each in variables if "value" in each}
        share = environment["EVSE_MQTT_BRIDGE__FLEET__SHARE"].replace("$(POD_INDEX)", str(index))
        environment["EVSE_MQTT_BRIDGE__FLEET__SHARE"] = share
        fleet = configuration(KUBERNETES_TEXT, environment, tmp_path).fleet
        assert fleet is not None
        numbers += fleet.numbers
    assert sorted(numbers) == list(range(16))


def test_static_pods_are_those_of_the_deployment() -> None:
    spec = copy.deepcopy(STATEFUL_SET["spec"])
    expected = copy.deepcopy(MANIFESTS["deployment"]["spec"]["template"])
    expected["spec"]["volumes"] = [each for each in expected["spec"]["volumes"] if each["name"] != "history"]
    for template in (spec["template"], expected):
        del template["spec"]["containers"][0]["env"]
    assert spec["template"] == expected
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "history"


@pytest.mark.parametrize("folder", [FLEET, STATIC], ids=lambda folder: folder.name)
def test_kustomization_names_files_that_exist(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = [*kustomization["resources"], *(each["path"] for each in kustomization["patches"] if "path" in each)]
    assert all((folder / name).exists() for name in named)
    assert {path.name for path in folder.iterdir()} == {*named, "kustomization.yaml"} - {"../kubernetes"}
    assert kustomization.get("images", MANIFESTS["kustomization"]["images"]) == MANIFESTS["kustomization"]["images"]
    if shutil.which("kubectl"):
        subprocess.run(["kubectl", "kustomize", folder], check=True, stdout=subprocess.DEVNULL)
