"""Generates the list of modules in docs/architecture.md from the docstrings of the modules.

    python -m scripts.module_reference

Run it in the project's directory.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from scripts.generated_section import replace_section

__all__ = ["DOCUMENT", "modules", "refreshed", "tables"]

DOCUMENT = Path("docs/architecture.md")
_PACKAGE = Path(__file__).parent.parent / "evse_mqtt_bridge"

_BEGIN = "<!-- generated from the docstrings: begin -->\n"
_END = "<!-- generated from the docstrings: end -->\n"

_PACKAGES = (
    "cli",
    "service",
    "web",
    "observability",
    "fleet",
    "cloud",
    "mqtt",
    "polling",
    "simulator",
    "storage",
    "config",
    "publishing",
    "domain",
    "support",
)
"""The packages in the order of the layers, the one that imports all others first."""


def modules(package: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each module of a package, such as `cli/main.py`, and the first paragraph of its docstring."""
    for path in sorted((_PACKAGE / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        if path.name == "__init__.py" and len(tree.body) == 1:
            continue  # a docstring alone
        text = (ast.get_docstring(tree) or "").partition("\n\n")[0]
        yield path.relative_to(_PACKAGE).as_posix(), " ".join(text.split())


def tables() -> str:
    """Return the reference as Markdown: for each package a heading, its docstring and a table of its modules."""
    parts = []
    for package in _PACKAGES:
        sentence = (ast.get_docstring(ast.parse((_PACKAGE / package / "__init__.py").read_text())) or "").partition(
            "\n\n"
        )[0]
        rows = [f"| `{path}` | {text} |" for path, text in modules(package)]
        lines = (f"### {package}/", "", " ".join(sentence.split()), "", "| module | |", "| --- | --- |", *rows, "")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def refreshed(page: str) -> str:
    """Return `page` with new tables between the two marks.

    Raises:
        ValueError: A mark is missing.
    """
    return replace_section(page, _BEGIN, _END, f"\n{tables()}\n")


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
