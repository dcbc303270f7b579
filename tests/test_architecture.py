"""docs/architecture.md lists every module of the package, with one sentence each."""

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT / "evse_mqtt_bridge"
_HEADING = "## Modules"


def _has_code(path: Path) -> bool:
    """Return whether a module contains more than a docstring."""
    return len(ast.parse(path.read_text()).body) > 1 or path.name != "__init__.py"


@pytest.fixture(name="rows")
def _rows() -> dict[str, str]:
    """Return the sentence of each module, by its path in the package, from the tables below the heading."""
    _, found, rest = (_ROOT / "docs" / "architecture.md").read_text().partition(f"\n{_HEADING}\n")
    if not found:
        pytest.skip(f"docs/architecture.md has no section {_HEADING!r} yet")
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a module is listed twice"
    return dict(rows)


def test_module_list_is_complete_and_current(rows: dict[str, str]) -> None:
    modules = {path.relative_to(_PACKAGE).as_posix() for path in _PACKAGE.rglob("*.py") if _has_code(path)}
    assert rows.keys() - modules == set(), "these modules no longer exist"
    assert modules - rows.keys() == set(), "these modules are missing"


def test_module_list_has_one_sentence_each(rows: dict[str, str]) -> None:
    wrong = {path: sentence for path, sentence in rows.items() if not re.fullmatch(r"[^a-z].*[^.]\.", sentence)}
    assert wrong == {}


def test_every_module_has_a_docstring() -> None:
    assert [
        path.relative_to(_PACKAGE).as_posix()
        for path in _PACKAGE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []
