"""Contexts verify the other side, and files that cannot be used are named together with the reason."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from evse_mqtt_bridge.support.errors import CertificateError, ConfigError
from evse_mqtt_bridge.support.tls import check_ca_file, client_context, explain_rejection, server_context
from tests.harness import Authority


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> dict[str, str]:
    """PEM files by content: valid pairs, in two files and in one, and unusable files."""
    one, other = authority.issue("one"), authority.issue("other")
    key = serialization.load_pem_private_key(one.key_file.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    contents = {
        "both": one.cert_file.read_bytes() + one.key_file.read_bytes(),
        "encrypted": encrypted,
        "empty": b"",
        "text": b"no certificate\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in (*contents, "missing")} | {
        "": "",
        "folder": str(tmp_path),
        "ca": str(authority.ca_file),
        "cert": str(one.cert_file),
        "key": str(one.key_file),
        "other key": str(other.key_file),
    }


@pytest.mark.parametrize(("ca", "cert", "key"), [("", "", ""), ("ca", "", ""), ("ca", "cert", "key"), ("", "both", "")])
def test_client_context_with_valid_files_verifies_server(files: dict[str, str], ca: str, cert: str, key: str) -> None:
    context = client_context("mqtt.tls", files[ca], files[cert], files[key])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("ca", "cert", "key", "setting", "file", "reason"),
    [
        ("missing", "", "", "ca_file", "missing", "No such file or directory"),
        ("folder", "", "", "ca_file", "folder", "Is a directory"),
        ("text", "", "", "ca_file", "text", "no certificate in PEM form"),
        ("ca", "missing", "", "cert_file", "missing", "No such file or directory"),
        ("ca", "cert", "missing", "key_file", "missing", "No such file or directory"),
        ("ca", "text", "key", "cert_file", "text", "expected a certificate and its unencrypted key"),
        ("ca", "cert", "", "cert_file", "cert", "expected a certificate and its unencrypted key"),
        ("ca", "cert", "other key", "cert_file", "cert", "expected a certificate and its unencrypted key"),
        ("ca", "cert", "encrypted", "cert_file", "cert", "expected a certificate and its unencrypted key"),
    ],
)
def test_client_context_with_unusable_file_names_setting(
    files: dict[str, str], ca: str, cert: str, key: str, setting: str, file: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        client_context("mqtt.tls", files[ca], files[cert], files[key])
    (problem,) = caught.value.problems
    assert problem.key == f"mqtt.tls.{setting}"
    assert problem.message.startswith(f"{files[file]} cannot be used: {reason}")


@pytest.mark.parametrize("ca", ["", "ca"])
def test_client_context_flags_depend_on_no_python_version(files: dict[str, str], ca: str) -> None:
    flags = client_context("cloud", files[ca]).verify_flags
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("unable to get local issuer certificate", "does mqtt.tls.ca_file name the CA that signed it?"),
        ("unable to verify the first certificate", "does mqtt.tls.ca_file name the CA that signed it?"),
        ("self-signed certificate in certificate chain", "does mqtt.tls.ca_file name the CA that signed it?"),
        ("self-signed certificate", "if you trust it, name it in mqtt.tls.ca_file"),
        ("certificate has expired", "check its dates, those of its CA, and the clock of this machine"),
        (
            "certificate is not yet valid or the system clock is incorrect",
            "check its dates, those of its CA, and the clock of this machine",
        ),
    ],
)
def test_rejection_is_explained_by_what_to_check(reason: str, advice: str) -> None:
    assert explain_rejection(reason, "mqtt.tls") == f"{reason}; {advice}"


def test_rejection_of_unknown_kind_is_explained_by_its_reason() -> None:
    assert explain_rejection("permitted subtree violation", "cloud") == "permitted subtree violation"


def test_check_ca_file_with_unusable_file_names_setting(files: dict[str, str]) -> None:
    check_ca_file("cloud", "")
    check_ca_file("cloud", files["ca"])
    with pytest.raises(ConfigError, match=r"^cloud\.ca_file: .*text cannot be used: no certificate in PEM form$"):
        check_ca_file("cloud", files["text"])


@pytest.mark.parametrize(("cert", "key"), [("cert", "key"), ("both", "")])
def test_server_context_with_valid_files_is_returned(files: dict[str, str], cert: str, key: str) -> None:
    assert isinstance(server_context(files[cert], files[key]), ssl.SSLContext)


@pytest.mark.parametrize(
    ("cert", "key", "error"),
    [
        ("missing", "key", "missing cannot be read: No such file or directory"),
        ("cert", "missing", "missing cannot be read: No such file or directory"),
        ("folder", "key", "cannot be read: Is a directory"),
        ("text", "key", "cannot be used for TLS"),
        ("empty", "key", "cannot be used for TLS"),
        ("cert", "text", "cannot be used for TLS"),
        ("cert", "other key", "cannot be used for TLS"),
        ("cert", "encrypted", "cannot be used for TLS"),
        ("cert", "", "cannot be used for TLS"),
    ],
)
def test_server_context_with_unusable_file_raises(files: dict[str, str], cert: str, key: str, error: str) -> None:
    with pytest.raises(CertificateError, match=error) as caught:
        server_context(files[cert], files[key])
    assert "\n" not in str(caught.value)
