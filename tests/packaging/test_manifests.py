"""The files for Compose and Kubernetes match the image, the configuration's schema and each other."""

import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs
from packaging.requirements import Requirement

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.load import parse
from evse_mqtt_bridge.config.schema import Config, Http
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.mosquitto import mosquitto_path
from tests.harness.net import HOST, free_port, wait_until_listening

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy/compose"
KUBERNETES = ROOT / "deploy/kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IMAGE_USER = 10001
PAGE_PORT = Http().port

COMPOSED: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSED["services"]
BRIDGE: dict[str, Any] = SERVICES["bridge"]
MANIFESTS: dict[str, Any] = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(KUBERNETES.glob("*.yaml"))}
POD: dict[str, Any] = MANIFESTS["deployment"]["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
KUBERNETES_TEXT: str = MANIFESTS["configmap"]["data"]["config.toml"]
KUBERNETES_ENVIRONMENT: dict[str, str] = {variable["name"]: variable["value"] for variable in CONTAINER["env"]}


def _secret_files(text: str) -> set[str]:
    """Return the files from which a configuration reads secrets."""
    return set(re.findall(r'^\w+_file = "(.+)"$', text, re.MULTILINE))


def _with_secrets(text: str, folder: Path) -> str:
    """Return the configuration with its secret files in `folder`; each file contains `secret`."""
    for file in _secret_files(text):
        (folder / Path(file).name).write_text("secret\n")
        (folder / Path(file).name).chmod(0o600)
        text = text.replace(file, str(folder / Path(file).name))
    return text


def _loaded(text: str, environment: dict[str, str], folder: Path) -> Config:
    loaded = parse(_with_secrets(text, folder), folder / "config.toml", environment)
    assert loaded.warnings == ()
    return loaded.config


# The image


def test_image_installs_locked_packages_and_extras() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / f"requirements/{name}.txt").read_text()
        return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))

    extras = {"psycopg", "psycopg-binary", "pycurl", "watchfiles"}
    assert pins("image").keys() - pins("run").keys() == extras
    assert pins("run").items() <= pins("image").items() <= pins("test").items()
    assert "requirements/image.txt" in DOCKERFILE


def test_fast_extra_installs_pycurl_only_where_it_has_wheels() -> None:
    (requirement,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["fast"]
    marker = Requirement(requirement).marker
    assert marker is not None
    machines = ("x86_64", "aarch64", "armv7l", "armv6l", "i686", "riscv64")
    installed = [name for name in machines if marker.evaluate({"sys_platform": "linux", "platform_machine": name})]
    assert installed == ["x86_64", "aarch64"]
    assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "x86_64"})  # no epoll


@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md", "docs/operations.md"])
def test_documented_installation_includes_libcurl(page: str) -> None:
    text = (ROOT / page).read_text()
    installations = re.findall(r"^    \S*pip install (?!--no-deps)(.*)$", text, re.MULTILINE)
    assert installations
    assert {line.split()[-1] for line in installations} <= {"'.[fast]'", "requirements/image.txt"}


def test_image_user_folder_and_port_match_the_manifests() -> None:
    assert f"USER {IMAGE_USER}:{IMAGE_USER}\n" in DOCKERFILE
    assert "WORKDIR /config\n" in DOCKERFILE
    assert f"EXPOSE {PAGE_PORT}\n" in DOCKERFILE


# Compose


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_compose_service_is_restricted_and_has_health_check(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "privileged" not in service
    assert name == "bridge" or re.search(r":\d+$", service["image"]), "no tag"


def test_compose_secrets_volumes_and_networks_are_all_used() -> None:
    for kind in ("secrets", "networks"):
        used = {name for service in SERVICES.values() for name in service.get(kind, [])}
        assert used == COMPOSED[kind].keys()
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert {source for source, *_ in mounts if not source.startswith(".")} == COMPOSED["volumes"].keys()
    folders = [(source, rest) for source, *rest in mounts if source.startswith(".")]
    assert folders
    for source, rest in folders:
        assert (COMPOSE / source).is_dir()
        assert rest[-1] == "ro"
    assert (COMPOSE / BRIDGE["build"] / "Dockerfile").exists()


def test_compose_secrets_are_excluded_from_git() -> None:
    folder = COMPOSE / "secrets"
    for secret in COMPOSED["secrets"].values():
        assert (COMPOSE / secret["file"]).parent == folder
    assert "\n*\n" in (folder / ".gitignore").read_text()


def test_compose_mounts_all_files_of_the_configuration(tmp_path: Path) -> None:
    text = (COMPOSE / "bridge/config.toml").read_text()
    config = _loaded(text, BRIDGE["environment"], tmp_path)
    assert config.mqtt.host in SERVICES
    assert config.stations
    assert {f"/run/secrets/{name}" for name in BRIDGE["secrets"]} == _secret_files(text)
    assert BRIDGE["volumes"] == ["./bridge:/config:ro", "bridge-data:/var/lib/evse-mqtt-bridge"]


def test_compose_publishes_ports_only_on_loopback(tmp_path: Path) -> None:
    config = _loaded((COMPOSE / "bridge/config.toml").read_text(), BRIDGE["environment"], tmp_path)
    assert config.http.host == "0.0.0.0"
    assert BRIDGE["ports"] == [f"127.0.0.1:{config.http.port}:{config.http.port}"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["node-red"]["ports"])


def test_compose_health_check_equals_that_of_the_image() -> None:
    check = BRIDGE["healthcheck"]
    found = re.search(r"^HEALTHCHECK (.*) CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found
    assert check["test"][1:] == yaml.safe_load(found[2])
    options = dict(re.findall(r"--([a-z-]+)=(\S+)", found[1]))
    assert {name.replace("-", "_"): value for name, value in options.items()} == {
        name: str(value) for name, value in check.items() if name != "test"
    }


@pytest.fixture
def composed_broker(tmp_path: Path) -> Iterator[int]:
    """Start Mosquitto with the configuration for Compose, except for paths and port; yield the port."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    program = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
    for user in ("bridge", "node-red"):
        subprocess.run([program, "-b", passwords, user, "secret"], check=True, capture_output=True)
    data = tmp_path / "data"
    data.mkdir()
    port = free_port()
    text = (COMPOSE / "mosquitto/mosquitto.conf").read_text()
    for old, new in (
        ("listener 1883\n", f"listener {port} {HOST}\n"),
        ("/run/secrets/mosquitto.passwords", str(passwords)),
        ("/mosquitto/data/", f"{data}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "mosquitto.conf"
    file.write_text(f"{text}user root\n")
    with subprocess.Popen(
        [mosquitto_path(), "-c", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as broker:
        try:
            wait_until_listening(port, lambda: None if broker.poll() is None else f"exited with {broker.returncode}")
            yield port
        finally:
            broker.terminate()


def test_compose_bridge_connects_to_compose_broker(tmp_path: Path, composed_broker: int, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    config = tmp_path / "config.toml"
    config.write_text(_with_secrets((COMPOSE / "bridge/config.toml").read_text(), tmp_path))
    overrides = {
        "EVSE_MQTT_BRIDGE__MQTT__HOST": HOST,
        "EVSE_MQTT_BRIDGE__MQTT__PORT": str(composed_broker),
        "EVSE_MQTT_BRIDGE__CLOUD__BASE_URL": cloud.url,
        "EVSE_MQTT_BRIDGE__HTTP__ENABLED": "false",
    }
    with (
        BridgeProcess.run(config, env=overrides),
        Observer(composed_broker, username="node-red", password="secret") as observer,
    ):
        observer.wait_for("evse/garage-north/availability", "online")


def test_node_red_health_check_fails_without_a_server(cloud: CloudServer) -> None:
    form, *command = SERVICES["node-red"]["healthcheck"]["test"]
    assert (form, command[:2]) == ("CMD", ["node", "-e"])
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    for port, code in ((cloud.port, 0), (free_port(), 1)):
        script = command[2].replace("127.0.0.1:1880", f"{HOST}:{port}")
        assert subprocess.run(["node", "-e", script], check=False).returncode == code


# Kubernetes


def test_kustomization_has_all_resources_and_this_version() -> None:
    kustomization = MANIFESTS["kustomization"]
    assert {Path(name).stem for name in kustomization["resources"]} == MANIFESTS.keys() - {"kustomization"}
    [image] = kustomization["images"]
    assert image["name"] == CONTAINER["image"]
    assert image["newTag"] == __version__


def test_kustomize_renders_all_resources() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run(["kubectl", "kustomize", KUBERNETES], capture_output=True, text=True, check=True).stdout
    found = list(yaml.safe_load_all(rendered))
    assert {each["kind"] for each in found} == {"Namespace", "ConfigMap", "Secret", "Deployment", "Service"}
    [deployment] = [each for each in found if each["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"evse-mqtt-bridge:{__version__}"


def test_resources_share_one_namespace_and_label() -> None:
    labels = {"app.kubernetes.io/name": "evse-mqtt-bridge"}
    namespace = MANIFESTS["namespace"]["metadata"]["name"]
    for name in ("configmap", "secret", "deployment", "service"):
        assert MANIFESTS[name]["metadata"]["namespace"] == namespace
        assert MANIFESTS[name]["metadata"]["labels"] == labels
    spec = MANIFESTS["deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
    assert MANIFESTS["service"]["spec"]["selector"] == labels


def test_pod_meets_the_restricted_security_profile() -> None:
    assert MANIFESTS["namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    context = POD["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {IMAGE_USER}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_deployment_never_runs_two_bridges() -> None:
    assert MANIFESTS["deployment"]["spec"]["replicas"] == 1
    assert MANIFESTS["deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_pod_mounts_all_files_of_the_configuration(tmp_path: Path) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    volumes = {volume.pop("name"): volume for volume in [dict(volume) for volume in POD["volumes"]]}
    assert mounts["config"] == "/config"
    assert volumes["config"]["configMap"]["name"] == MANIFESTS["configmap"]["metadata"]["name"]
    assert volumes["secrets"]["secret"] == {"secretName": MANIFESTS["secret"]["metadata"]["name"], "defaultMode": 0o440}
    mounted = {f"{mounts['secrets']}/{key}" for key in MANIFESTS["secret"]["stringData"]}
    assert mounted == _secret_files(KUBERNETES_TEXT)
    assert _loaded(KUBERNETES_TEXT, KUBERNETES_ENVIRONMENT, tmp_path).stations
    assert "change-me" not in KUBERNETES_TEXT
    assert tomllib.loads(KUBERNETES_TEXT)["stations"][0].keys() >= {"token_file"}


def test_kubernetes_ports_match_the_configuration(tmp_path: Path) -> None:
    config = _loaded(KUBERNETES_TEXT, KUBERNETES_ENVIRONMENT, tmp_path)
    assert config.http.host == "0.0.0.0"
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == config.http.port
    [served] = MANIFESTS["service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    assert MANIFESTS["service"]["metadata"]["annotations"]["prometheus.io/port"] == str(config.http.port)
    probes = [CONTAINER[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {port["name"]}


def test_bridge_serves_all_probe_and_metrics_paths(
    tmp_path: Path, broker: Mosquitto, observer: Observer, cloud: CloudServer
) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    config = tmp_path / "config.toml"
    config.write_text(_with_secrets(KUBERNETES_TEXT, tmp_path))
    port = free_port()
    overrides = {
        **KUBERNETES_ENVIRONMENT,
        "EVSE_MQTT_BRIDGE__MQTT__HOST": broker.host,
        "EVSE_MQTT_BRIDGE__MQTT__PORT": str(broker.port),
        "EVSE_MQTT_BRIDGE__CLOUD__BASE_URL": cloud.url,
        "EVSE_MQTT_BRIDGE__HTTP__HOST": HOST,
        "EVSE_MQTT_BRIDGE__HTTP__PORT": str(port),
    }
    paths = {CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    paths.add(MANIFESTS["service"]["metadata"]["annotations"]["prometheus.io/path"])
    assert len(paths) == 3
    with BridgeProcess.run(config, env=overrides):
        observer.wait_for("evse/garage-north/availability", "online")
        for path in paths:
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as answer:
                assert answer.status == 200
