"""What a checkout promises besides the code: locked packages, a build that finds its Python, files that exist."""

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
def test_every_locked_package_has_a_hash_and_no_address(name: str) -> None:
    text = _lock(name)
    assert "://" not in text
    entries = re.sub(r"\\\n", "", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^\\]+?)? +(--hash=sha256:[0-9a-f]{64} *)+", entry), entry[:80]


@pytest.mark.parametrize("name", ["run", "build", "demo"])
def test_the_locks_agree(name: str) -> None:
    assert _pins(name).items() <= _pins("test").items()


def test_what_is_needed_to_run_is_small() -> None:
    assert not {"pytest", "hatchling", "amqtt", "ruff"} & _pins("run").keys()


def _find_python(folder: Path) -> subprocess.CompletedProcess[str]:
    script = (_ROOT / "scripts" / "find-python").read_text().replace("/usr/bin/python3", "")
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def _stand_in(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_newest_python_that_works_is_taken(tmp_path: Path) -> None:
    _stand_in(tmp_path, "python3.14", "echo 'version not selected' >&2; exit 127")  # a version manager's
    _stand_in(tmp_path, "python3.13", "case $2 in *version_info*) exit 0;; *) exit 1;; esac")  # without ensurepip
    _stand_in(tmp_path, "python3.12", "exit 0")
    _stand_in(tmp_path, "python3.11", "exit 0")
    assert _find_python(tmp_path).stdout == "python3.12\n"


def test_a_python_that_is_too_old_or_incomplete_is_told(tmp_path: Path) -> None:
    _stand_in(tmp_path, "python3", "exit 1")
    found = _find_python(tmp_path)
    assert found.returncode == 1
    assert "Python 3.11 or newer is needed" in found.stderr
    _stand_in(
        tmp_path,
        "python3.12",
        "case $2 in *ensurepip*) exit 1;; *print*) echo python3.12-venv;; esac",
    )
    found = _find_python(tmp_path)
    assert found.returncode == 1
    assert "apt install python3.12-venv" in found.stderr


def test_the_image_is_made_of_files_that_exist_and_are_not_ignored() -> None:
    ignore = (_ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    for source in sources:
        assert (_ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignore


def test_make_help_names_every_target() -> None:
    makefile = (_ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared
    for target in declared[1].split():
        assert target == "help" or f'"make {target} ' in makefile


@pytest.mark.parametrize("path", _SCRIPTS)
def test_scripts_can_be_run(path: str) -> None:
    assert os.access(_ROOT / path, os.X_OK)


def _ensure_mosquitto(folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("mktemp", "rm", "cat", "env"):
        (folder / name).symlink_to(shutil.which(name) or name)
    script = (_ROOT / "scripts" / "ensure-mosquitto").read_text().replace(":/usr/sbin:/usr/local/sbin", "")
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_mosquitto_is_not_installed_twice(tmp_path: Path) -> None:
    _stand_in(tmp_path, "mosquitto", "exit 0")
    _stand_in(tmp_path, "apt-get", f"touch {tmp_path}/called")
    assert _ensure_mosquitto(tmp_path).returncode == 0
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(("user", "first_word"), [("0", "apt-get"), ("1000", "sudo")])
def test_mosquitto_is_installed_as_root_or_with_sudo(tmp_path: Path, user: str, first_word: str) -> None:
    calls = tmp_path / "calls"
    _stand_in(tmp_path, "id", f"echo {user}")
    _stand_in(tmp_path, "sudo", f'echo sudo >> {calls}; exec "$@"')
    # the package lists are missing, as in a fresh container
    _stand_in(
        tmp_path,
        "apt-get",
        f"echo apt-get $1 >> {calls}; [ $1 = update ] && : > {tmp_path}/lists; test -e {tmp_path}/lists",
    )
    ensured = _ensure_mosquitto(tmp_path)
    assert (ensured.returncode, ensured.stderr) == (0, "")
    lines = calls.read_text().splitlines()
    assert lines[0].startswith(first_word)
    assert [line for line in lines if line != "sudo"] == ["apt-get install", "apt-get update", "apt-get install"]


@pytest.mark.parametrize(
    ("stand_ins", "words"),
    [
        ({}, "pacman -S mosquitto"),
        ({"apt-get": "exit 0", "id": "echo 1000"}, "As root: apt-get install mosquitto"),
        ({"apt-get": "echo no network >&2; exit 1", "id": "echo 0"}, "no network"),
    ],
)
def test_where_mosquitto_cannot_be_installed_it_is_told_what_to_do(
    tmp_path: Path, stand_ins: dict[str, str], words: str
) -> None:
    for name, script in stand_ins.items():
        _stand_in(tmp_path, name, script)
    ensured = _ensure_mosquitto(tmp_path)
    assert ensured.returncode == 1
    assert words in ensured.stderr
