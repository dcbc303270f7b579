"""docs/architecture.md lists every module of the package with its sentence, and only files that exist."""

import ast
import re
from pathlib import Path

import pytest

from scripts.module_reference import DOCUMENT, modules, refreshed

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT / "evse_mqtt_bridge"
_PAGE = (_ROOT / DOCUMENT).read_text()


def test_module_list_is_current() -> None:
    assert refreshed(_PAGE) == _PAGE, "run `python -m scripts.module_reference`"


def test_module_list_is_complete() -> None:
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", _PAGE, re.MULTILINE))
    packages = {path.name for path in _PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert listed == {path for package in packages for path, _ in modules(package)}
    assert len(listed) > 100


def test_module_sentences_end_with_a_full_stop() -> None:
    packages = [path.name for path in _PACKAGE.iterdir() if (path / "__init__.py").exists()]
    assert [
        path for package in packages for path, text in modules(package) if not re.fullmatch(r".{20,160}\.", text)
    ] == []


def test_every_module_has_a_docstring() -> None:
    assert [
        path.relative_to(_PACKAGE).as_posix()
        for path in _PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:[a-z_]+/)+[a-z_]+\.py\b", _PAGE))))
def test_page_names_files_that_exist(path: str) -> None:
    assert (_PACKAGE / path).exists() or (_ROOT / path).exists()
