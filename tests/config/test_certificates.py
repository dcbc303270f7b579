"""Errors in PEM files state the line in the configuration, the file and the reason."""

import contextlib
import re
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.support.errors import ConfigError
from tests.harness import Authority

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """Return a folder with a configuration that names four valid files."""
    own, other = authority.issue("own"), authority.issue("other")
    for name, file in (
        ("ca.pem", authority.ca_file),
        ("own.pem", own.cert_file),
        ("own.key", own.key_file),
        ("other.key", other.key_file),
    ):
        shutil.copy(file, tmp_path / name)
    (tmp_path / "config.toml").write_text(
        '[mqtt]\nhost = "h"\n[mqtt.tls]\nca_file = "ca.pem"\ncert_file = "own.pem"\nkey_file = "own.key"\n'
        '[cloud]\nca_file = "ca.pem"\n'
    )
    return tmp_path


def test_load_with_valid_files_succeeds(folder: Path) -> None:
    load(folder / "config.toml", {})


def test_load_with_key_in_certificate_file_succeeds(folder: Path) -> None:
    (folder / "own.pem").write_text((folder / "own.pem").read_text() + (folder / "own.key").read_text())
    text = (folder / "config.toml").read_text().replace('key_file = "own.key"\n', "")
    (folder / "config.toml").write_text(text)
    load(folder / "config.toml", {})


def test_load_with_non_ascii_comments_in_bundle_succeeds(folder: Path) -> None:
    one = (folder / "ca.pem").read_text()
    (folder / "ca.pem").write_text(f"Főtanúsítvány\n{one}\n# another\n{one}")
    load(folder / "config.toml", {})


def _der(file: Path) -> None:
    file.write_bytes(ssl.PEM_cert_to_DER_cert(file.read_text()))


def _damaged(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, *lines[:2], "AAAA", *lines[3:], ""]))


def _encrypted(file: Path) -> None:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    cipher = serialization.BestAvailableEncryption(b"passphrase")
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, cipher)
    )


def _encrypted_pkcs8(file: Path) -> None:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    cipher = serialization.BestAvailableEncryption(b"passphrase")
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher))


def _replaced_by(text: str) -> Damage:
    return lambda file: file.write_text(text)


def _copy_of(name: str) -> Damage:
    return lambda file: shutil.copy(file.with_name(name), file)


def _truncated(file: Path) -> None:
    file.write_text(file.read_text()[:-30])


_ENCRYPTED = (
    "the key is encrypted, and a service cannot enter its passphrase; "
    "decrypt it with `openssl pkey -in own.key -out decrypted.key`"
)
_NOT_PEM = "the file is not PEM: it has no line -----BEGIN CERTIFICATE-----"
_DER_FORM = (
    "the file is in binary form (DER); convert it to PEM with `openssl x509 -inform der -in ca.pem -out new.pem`"
)
_TABLE: list[tuple[str, str, Damage, str]] = [
    ("ca_file", "ca.pem", _replaced_by(" \n"), "the file is empty"),
    ("ca_file", "ca.pem", _replaced_by("hello"), _NOT_PEM),
    ("ca_file", "ca.pem", _der, _DER_FORM),
    ("ca_file", "ca.pem", _damaged, "the certificate that starts on line {second} is damaged"),
    ("ca_file", "ca.pem", _truncated, "the file ends in the middle of a certificate"),
    ("ca_file", "ca.pem", _copy_of("own.key"), "the file contains no certificate, only: private key"),
    ("cert_file", "own.pem", _replaced_by("x" * 99), _NOT_PEM),
    ("key_file", "own.key", _copy_of("own.pem"), "the file contains no private key, only: certificate"),
    ("key_file", "own.key", _copy_of("other.key"), "the key does not match the certificate in own.pem"),
    ("key_file", "own.key", _encrypted, _ENCRYPTED),
    ("key_file", "own.key", _encrypted_pkcs8, _ENCRYPTED),
]


@pytest.mark.parametrize(("key", "name", "damage", "reason"), _TABLE)
def test_load_with_unusable_file_reports_file_and_reason(
    key: str, name: str, damage: Damage, reason: str, folder: Path
) -> None:
    second = len((folder / name).read_text().splitlines()) + 1
    damage(folder / name)
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    lines = [str(problem) for problem in caught.value.problems if problem.key.startswith("mqtt")]
    line = {"ca_file": 4, "cert_file": 5, "key_file": 6}[key]
    assert lines == [
        f"{folder}/config.toml:{line}: mqtt.tls.{key}: {folder}/{name}: {reason.format(second=second)}",
    ]


def test_errors_in_documentation_are_real_errors(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    documented = re.findall(r"^    (config\.toml:\d+: mqtt\.tls\..*)$", page, re.MULTILINE)
    assert len(documented) == 2
    ca, key = ((folder / name).read_text() for name in ("ca.pem", "other.key"))
    (folder / "bridge.pem").write_text((folder / "own.pem").read_text())
    (folder / "bridge.key").write_text(key)
    broken = re.sub(r"^[A-Za-z0-9+/]{9}", "AAAAAAAAA", ca.split("\n", 1)[1])
    (folder / "ca.pem").write_text(ca + "\n" * (30 - ca.count("\n")) + ca.split("\n", 1)[0] + "\n" + broken)
    (folder / "config.toml").write_text(
        '[mqtt]\nhost = "h"\n[cloud]\n[polling]\n[log]\n[http]\n[homeassistant]\n\n\n\n'
        '[mqtt.tls]\nca_file = "ca.pem"\ncert_file = "bridge.pem"\nkey_file = "bridge.key"\n'
    )
    with contextlib.chdir(folder), pytest.raises(ConfigError) as caught:
        load(Path("config.toml"), {})
    assert str(caught.value).replace(f"{folder}/", "/etc/evse-mqtt-bridge/").splitlines() == documented


def test_load_with_unusable_cloud_ca_reports_it(folder: Path) -> None:
    (folder / "ca.pem").write_text("hello")
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    assert [problem.key for problem in caught.value.problems] == ["mqtt.tls.ca_file", "cloud.ca_file"]


def test_load_with_certificate_without_key_reports_it(folder: Path) -> None:
    text = (folder / "config.toml").read_text().replace('key_file = "own.key"\n', "")
    (folder / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    assert str(caught.value) == (
        f"{folder}/config.toml:5: mqtt.tls.cert_file: {folder}/own.pem: the file contains no private key; set key_file"
    )
