"""The HTML of the status page: content security policy, embedded tables and colours."""

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


def test_policy_allows_embedded_script_and_style_only() -> None:
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


def test_page_loads_no_other_resource() -> None:
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", _HTML)
    assert not re.findall(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", _HTML)
    assert not re.findall(r"\son\w+=|\sstyle=", _HTML)
    assert not re.findall(r"/\*\w+\*/", _HTML), "unreplaced marker"
    assert len(_PAGE.html) < 72 * 1024


def test_page_embeds_tables_of_the_bridge() -> None:
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
        (text, background)
        for text in ("text", "muted", "accent", "neutral", "ok", "error", "warning")
        for background in ("background", "card")
    ),
    *((level, f"{level}-bg") for level in ("ok", "info", "neutral", "warning", "error")),
    ("on-accent", "accent"),
    ("accent", "inset"),
]
_LINES = [("control-border", "card"), ("control-border", "background"), ("info", "card"), ("accent", "background")]


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("palette", [_LIGHT, _DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("foreground", "background", "minimum"), [*((*pair, 4.5) for pair in _TEXTS), *((*pair, 3.0) for pair in _LINES)]
)
def test_colours_have_enough_contrast(
    palette: dict[str, str], foreground: str, background: str, minimum: float
) -> None:
    assert _contrast(palette[foreground], palette[background]) >= minimum


def test_colour_schemes_differ_in_every_colour() -> None:
    assert set(_LIGHT) == set(_DARK)
    assert not [name for name in _LIGHT if _LIGHT[name] == _DARK[name]]


# scripts/ensure-chromium


def _run_ensure_chromium(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    for name, body in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    (folder / "env").symlink_to(shutil.which("env") or "env")
    script = _ROOT / "scripts" / "ensure-chromium"
    assert os.access(script, os.X_OK)
    environment = {"PATH": str(folder)}
    return subprocess.run(["/bin/sh", str(script)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["chromium", "chromium_browser", "google_chrome"])
def test_ensure_chromium_when_installed_does_nothing(tmp_path: Path, name: str) -> None:
    result = _run_ensure_chromium(tmp_path, **{name: "exit 0", "apt_get": f"echo called > {tmp_path}/called"})
    assert (result.returncode, result.stderr) == (0, "")
    assert not (tmp_path / "called").exists()


def test_ensure_chromium_without_lists_updates_and_installs(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    apt_get = f"echo $1 >> {calls}; [ $1 = update ] && : > {tmp_path}/lists; test -e {tmp_path}/lists"
    result = _run_ensure_chromium(tmp_path, id="echo 0", apt_get=apt_get)
    assert (result.returncode, result.stderr) == (0, "")
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
def test_ensure_chromium_on_failure_succeeds_with_warning(tmp_path: Path, programs: dict[str, str]) -> None:
    result = _run_ensure_chromium(tmp_path, **programs)
    assert result.returncode == 0
    assert "skipping the browser tests" in result.stderr
