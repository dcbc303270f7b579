"""PEM files that cannot be used are told with their name, their line in the configuration and what is wrong."""

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

Break = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """A configuration that names four good files."""
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


def test_good_files_are_taken(folder: Path) -> None:
    load(folder / "config.toml", {})


def test_a_key_may_stand_beside_its_certificate(folder: Path) -> None:
    (folder / "own.pem").write_text((folder / "own.pem").read_text() + (folder / "own.key").read_text())
    text = (folder / "config.toml").read_text().replace('key_file = "own.key"\n', "")
    (folder / "config.toml").write_text(text)
    load(folder / "config.toml", {})


def test_a_bundle_may_say_in_any_alphabet_whose_it_is(folder: Path) -> None:
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


def _text(text: str) -> Break:
    return lambda file: file.write_text(text)


def _copy_of(name: str) -> Break:
    return lambda file: shutil.copy(file.with_name(name), file)


def _cut(file: Path) -> None:
    file.write_text(file.read_text()[:-30])


_OPENS = (
    "the key is encrypted, and a service cannot enter its passphrase; "
    "decrypt it with `openssl pkey -in own.key -out decrypted.key`"
)
_NO_PEM = "the file is not PEM: it has no line -----BEGIN CERTIFICATE-----"
_BINARY = "the file is in binary form (DER); convert it to PEM with `openssl x509 -inform der -in ca.pem -out new.pem`"
_TABLE: list[tuple[str, str, Break, str]] = [
    ("ca_file", "ca.pem", _text(" \n"), "the file is empty"),
    ("ca_file", "ca.pem", _text("hello"), _NO_PEM),
    ("ca_file", "ca.pem", _der, _BINARY),
    ("ca_file", "ca.pem", _damaged, "the certificate that starts on line {again} is damaged"),
    ("ca_file", "ca.pem", _cut, "the file ends in the middle of a certificate"),
    ("ca_file", "ca.pem", _copy_of("own.key"), "the file contains no certificate, only: private key"),
    ("cert_file", "own.pem", _text("x" * 99), _NO_PEM),
    ("key_file", "own.key", _copy_of("own.pem"), "the file contains no private key, only: certificate"),
    ("key_file", "own.key", _copy_of("other.key"), "the key does not match the certificate in own.pem"),
    ("key_file", "own.key", _encrypted, _OPENS),
    ("key_file", "own.key", _encrypted_pkcs8, _OPENS),
]


@pytest.mark.parametrize(("key", "name", "spoil", "words"), _TABLE)
def test_a_file_that_cannot_be_used_is_told(key: str, name: str, spoil: Break, words: str, folder: Path) -> None:
    again = len((folder / name).read_text().splitlines()) + 1
    spoil(folder / name)
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    said = [str(problem) for problem in caught.value.problems if problem.key.startswith("mqtt")]
    line = {"ca_file": 4, "cert_file": 5, "key_file": 6}[key]
    assert said == [
        f"{folder}/config.toml:{line}: mqtt.tls.{key}: {folder}/{name}: {words.format(again=again)}",
    ]


def test_the_page_says_it_as_it_is_said(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    shown = re.findall(r"^    (config\.toml:\d+: mqtt\.tls\..*)$", page, re.MULTILINE)
    assert len(shown) == 2
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
    assert str(caught.value).replace(f"{folder}/", "/etc/evse-mqtt-bridge/").splitlines() == shown


def test_the_ca_of_the_cloud_is_looked_at_too(folder: Path) -> None:
    (folder / "ca.pem").write_text("hello")
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    assert [problem.key for problem in caught.value.problems] == ["mqtt.tls.ca_file", "cloud.ca_file"]


def test_a_certificate_without_a_key_is_told(folder: Path) -> None:
    text = (folder / "config.toml").read_text().replace('key_file = "own.key"\n', "")
    (folder / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(folder / "config.toml", {})
    assert str(caught.value) == (
        f"{folder}/config.toml:5: mqtt.tls.cert_file: {folder}/own.pem: "
        "the file contains no private key; set mqtt.tls.key_file"
    )
