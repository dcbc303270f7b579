"""The page as a document: what stands in it, what may run in it, and its colours."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS
from evse_mqtt_bridge.web.page import document

_ROOT = Path(__file__).parent.parent.parent
_PAGE = document()
_HTML = _PAGE.html.decode()
_STYLE = (_ROOT / "evse_mqtt_bridge" / "web" / "page" / "page.css").read_text()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_what_stands_in_it_and_nothing_else() -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", _HTML, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", _HTML, re.DOTALL)
    rules = dict(rule.split(" ", 1) for rule in _PAGE.policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "data:",
    }


def test_it_needs_nothing_else() -> None:
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", _HTML)
    assert not re.findall(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", _HTML)
    assert not re.findall(r"\son\w+=|\sstyle=", _HTML)
    assert not re.findall(r"/\*\w+\*/", _HTML), "a place that was left empty"
    assert len(_PAGE.html) < 64 * 1024


def test_it_knows_the_words_that_the_bridge_works_by() -> None:
    (text,) = re.findall(r'<script type="application/json" id="tables">(.*?)</script>', _HTML, re.DOTALL)
    tables = json.loads(text)
    assert set(tables["reasons"]) == {reason.value for reason in Reason}
    assert set(tables["statuses"]) == set(STATUSES)
    assert [name for name, _, _ in tables["plug"]] == [field.name for field in PLUG_FIELDS]


def _palette(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))


_LIGHT = _palette(_STYLE.split("@media (prefers-color-scheme: dark)")[0])
_DARK = {**_LIGHT, **_palette(_STYLE.split("@media (prefers-color-scheme: dark)")[1].split("\n}")[0])}
_TEXTS = [
    *(
        (text, ground)
        for text in ("text", "muted", "accent", "quiet", "good", "bad", "warn")
        for ground in ("bg", "card")
    ),
    *((kind, f"{kind}-bg") for kind in ("good", "calm", "quiet", "warn", "bad")),
    ("on-accent", "accent"),
    ("accent", "sunk"),
]
_EDGES = [("edge", "card"), ("edge", "bg"), ("calm", "card"), ("accent", "bg")]


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("palette", [_LIGHT, _DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "ground", "least"), [*((*pair, 4.5) for pair in _TEXTS), *((*pair, 3.0) for pair in _EDGES)]
)
def test_colours_have_contrast(palette: dict[str, str], front: str, ground: str, least: float) -> None:
    assert _contrast(palette[front], palette[ground]) >= least


def test_both_schemes_have_colours_of_their_own() -> None:
    assert set(_LIGHT) == set(_DARK)
    assert not [name for name in _LIGHT if _LIGHT[name] == _DARK[name]]


# scripts/ensure-chromium


def _ensure(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    for name, script in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    (folder / "env").symlink_to(shutil.which("env") or "env")
    ensure = _ROOT / "scripts" / "ensure-chromium"
    assert os.access(ensure, os.X_OK)
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", str(ensure)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["chromium", "chromium_browser", "google_chrome"])
def test_chromium_is_not_installed_twice(tmp_path: Path, name: str) -> None:
    ensured = _ensure(tmp_path, **{name: "exit 0", "apt_get": f"echo called > {tmp_path}/called"})
    assert (ensured.returncode, ensured.stderr) == (0, "")
    assert not (tmp_path / "called").exists()


def test_chromium_is_installed_when_the_package_lists_are_missing(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    apt_get = f"echo $1 >> {calls}; [ $1 = update ] && : > {tmp_path}/lists; test -e {tmp_path}/lists"
    ensured = _ensure(tmp_path, id="echo 0", apt_get=apt_get)
    assert (ensured.returncode, ensured.stderr) == (0, "")
    assert calls.read_text().split() == ["install", "update", "install"]


@pytest.mark.parametrize(
    "programs",
    [
        {},
        {"apt_get": "exit 0", "id": "echo 1000"},
        {"apt_get": "exit 0", "id": "echo 1000", "sudo": "exit 1"},
        {"apt_get": "exit 1", "id": "echo 0"},
    ],
)
def test_where_chromium_cannot_be_installed_nothing_fails(tmp_path: Path, programs: dict[str, str]) -> None:
    ensured = _ensure(tmp_path, **programs)
    assert ensured.returncode == 0
    assert "are skipped" in ensured.stderr
