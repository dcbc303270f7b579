"""The lock files, scripts and build files of a checkout are consistent."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_SCRIPTS = (
    ".ci/run",
    *(f"scripts/{path.name}" for path in (_ROOT / "scripts").iterdir() if not path.suffix and path.is_file()),
)
_LOCKS = ("run", "build", "demo", "image", "test")


def _lock(name: str) -> str:
    return (_ROOT / "requirements" / f"{name}.txt").read_text()


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", _lock(name), re.MULTILINE))


@pytest.mark.parametrize("name", _LOCKS)
def test_locked_packages_have_hashes_and_no_addresses(name: str) -> None:
    text = _lock(name)
    assert "://" not in text
    entries = re.sub(r"\\\n", "", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^\\]+?)? +(--hash=sha256:[0-9a-f]{64} *)+", entry), entry[:80]


@pytest.mark.parametrize("name", ["run", "build", "demo"])
def test_lock_files_have_the_versions_of_the_test_lock(name: str) -> None:
    assert _pins(name).items() <= _pins("test").items()


def test_runtime_lock_contains_no_development_tool() -> None:
    assert not {"pytest", "hatchling", "amqtt", "ruff"} & _pins("run").keys()


def _find_python(folder: Path) -> subprocess.CompletedProcess[str]:
    script = (_ROOT / "scripts" / "find-python").read_text().replace("/usr/bin/python3", "")
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def _fake_program(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_find_python_returns_newest_usable_python(tmp_path: Path) -> None:
    _fake_program(tmp_path, "python3.14", "echo 'version not selected' >&2; exit 127")  # a shim of a version manager
    _fake_program(tmp_path, "python3.13", "case $2 in *version_info*) exit 0;; *) exit 1;; esac")  # without ensurepip
    _fake_program(tmp_path, "python3.12", "exit 0")
    _fake_program(tmp_path, "python3.11", "exit 0")
    assert _find_python(tmp_path).stdout == "python3.12\n"


def test_find_python_without_usable_python_prints_advice(tmp_path: Path) -> None:
    _fake_program(tmp_path, "python3", "exit 1")
    found = _find_python(tmp_path)
    assert found.returncode == 1
    assert "Python 3.11 or newer is required" in found.stderr
    _fake_program(
        tmp_path,
        "python3.12",
        "case $2 in *ensurepip*) exit 1;; *print*) echo python3.12-venv;; esac",
    )
    found = _find_python(tmp_path)
    assert found.returncode == 1
    assert "apt install python3.12-venv" in found.stderr


def test_files_copied_into_image_exist_and_are_not_ignored() -> None:
    ignore = (_ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    for source in sources:
        assert (_ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignore


def test_make_help_lists_every_rule() -> None:
    makefile = (_ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared
    for rule in declared[1].split():
        assert rule == "help" or f'"make {rule} ' in makefile


@pytest.mark.parametrize("path", _SCRIPTS)
def test_script_is_executable(path: str) -> None:
    assert os.access(_ROOT / path, os.X_OK)


def _ensure_mosquitto(folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("mktemp", "rm", "cat", "env"):
        (folder / name).symlink_to(shutil.which(name) or name)
    script = (_ROOT / "scripts" / "ensure-mosquitto").read_text().replace(":/usr/sbin:/usr/local/sbin", "")
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_ensure_mosquitto_when_installed_does_nothing(tmp_path: Path) -> None:
    _fake_program(tmp_path, "mosquitto", "exit 0")
    _fake_program(tmp_path, "apt-get", f"touch {tmp_path}/called")
    assert _ensure_mosquitto(tmp_path).returncode == 0
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(("user", "first_command"), [("0", "apt-get"), ("1000", "sudo")])
def test_ensure_mosquitto_installs_as_root_or_with_sudo(tmp_path: Path, user: str, first_command: str) -> None:
    calls = tmp_path / "calls"
    _fake_program(tmp_path, "id", f"echo {user}")
    _fake_program(tmp_path, "sudo", f'echo sudo >> {calls}; exec "$@"')
    # the package lists are missing, as in a new container
    _fake_program(
        tmp_path,
        "apt-get",
        f"echo apt-get $1 >> {calls}; [ $1 = update ] && : > {tmp_path}/lists; test -e {tmp_path}/lists",
    )
    ensured = _ensure_mosquitto(tmp_path)
    assert (ensured.returncode, ensured.stderr) == (0, "")
    lines = calls.read_text().splitlines()
    assert lines[0].startswith(first_command)
    assert [line for line in lines if line != "sudo"] == ["apt-get install", "apt-get update", "apt-get install"]


@pytest.mark.parametrize(
    ("programs", "advice"),
    [
        ({}, "pacman -S mosquitto"),
        ({"apt-get": "exit 0", "id": "echo 1000"}, "As root: apt-get install mosquitto"),
        ({"apt-get": "echo no network >&2; exit 1", "id": "echo 0"}, "no network"),
    ],
)
def test_ensure_mosquitto_when_impossible_prints_advice(tmp_path: Path, programs: dict[str, str], advice: str) -> None:
    for name, script in programs.items():
        _fake_program(tmp_path, name, script)
    ensured = _ensure_mosquitto(tmp_path)
    assert ensured.returncode == 1
    assert advice in ensured.stderr
