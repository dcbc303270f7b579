"""Identifiers use the terms of docs/architecture.md: no word of the old private vocabulary may come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

_ROOT = Path(__file__).parent.parent
_FOLDERS = ("evse_mqtt_bridge", "tests", "benchmarks", "scripts")

_WORD_LIST = (
    # published, logged or reported
    "say says said saying tell tells told telling untold hear hears heard hearing speak speaks spoken words "
    "anew news narrator quota loud trouble troubles complain complains complaint complaints "
    # a snapshot, or a full republish
    "picture pictures whole outline outlines look looks looked looking "
    # what a previous run published
    "life recall recalls recalled remember remembers remembered ledger leftover leftovers heir heirs "
    "retire retired way "
    # phases and results of a connection
    "greet greeted greeting born asked silent farewell visit visits visited visitor guest "
    "tend tends tending met ended "
    # scheduling and results of polls
    "agenda turn turns turnstile grain place places settle settled take takes misses survey target targets "
    # observability
    "witness tally census pulse vitals judge judged judges "
    # configuration and command line
    "checked describe described locate asking asker assistant showing drawing "
    # tests
    "torso dice liar scene trying"
)
_BANNED = frozenset(_WORD_LIST.split())
"""Words, in lower case, that no identifier may contain. Technical terms that look alike are not listed, such as `open`
(files), `record` (logging), `journal` (systemd), `document` (AsyncAPI), `transition`, `step`, `parts` and `rows`."""

_BANNED_IN = {"evse_mqtt_bridge/config/": frozenset({"fault", "faults"})}
"""Further words by folder: the simulator injects faults, a configuration has errors."""

_ALLOWED = (("home", "assistant"), ("look", "up"), ("looks", "up"), ("looked", "up"))
"""Sequences of words that are proper names or technical terms."""

_ALLOWED_IN = {"ended": ("session", "meter", "storage/", "benchmarks/energy", "benchmarks/history")}
"""Words that a part of the path of a file allows: charging sessions have started and ended, as in their topics."""

_TEST_NAME_LENGTH = 60


class _Identifier(NamedTuple):
    """A name that is defined in a file, at a line (1 for the name of the file itself)."""

    file: str
    line: int
    name: str


def _files() -> list[Path]:
    return sorted(path for folder in _FOLDERS for path in (_ROOT / folder).rglob("*.py"))


def _identifiers(path: Path) -> Iterator[_Identifier]:
    """Yield the name of the module and every name that it defines."""
    file = path.relative_to(_ROOT).as_posix()
    yield _Identifier(file, 1, path.parent.name if path.stem == "__init__" else path.stem)
    for node in ast.walk(ast.parse(path.read_text())):
        for name in _defined(node):
            yield _Identifier(file, getattr(node, "lineno", 1), name)


def _defined(node: ast.AST) -> list[str]:
    """Return the names that a node of the syntax tree defines itself."""
    match node:
        case (
            ast.FunctionDef(name=name)
            | ast.AsyncFunctionDef(name=name)
            | ast.ClassDef(name=name)
            | ast.arg(arg=name)
            | ast.Name(id=name, ctx=ast.Store())
            | ast.Attribute(attr=name, ctx=ast.Store())
            | ast.alias(asname=str(name))
            | ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            return [name]
    return []


def _split(name: str) -> list[str]:
    """Split snake_case and CamelCase into words in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _banned_terms(identifier: _Identifier) -> frozenset[str]:
    terms = _split(identifier.name)
    for allowed in _ALLOWED:
        for start in range(len(terms) - len(allowed), -1, -1):
            if tuple(terms[start : start + len(allowed)]) == allowed:
                del terms[start : start + len(allowed)]
    banned = _BANNED.union(*(more for folder, more in _BANNED_IN.items() if identifier.file.startswith(folder)))
    exempt = {word for word, parts in _ALLOWED_IN.items() if any(part in identifier.file for part in parts)}
    return banned.intersection(terms) - exempt


def test_identifiers_contain_no_banned_word() -> None:
    found = {
        f"{identifier.file}:{identifier.line}: {identifier.name} ({', '.join(sorted(banned))})"
        for path in _files()
        for identifier in _identifiers(path)
        if (banned := _banned_terms(identifier))
    }
    assert not found, "\n".join(sorted(found))


def test_test_names_have_at_most_60_characters() -> None:
    found = {
        f"{path.relative_to(_ROOT)}: {name}"
        for path in _files()
        for name in (path.stem, *re.findall(r"\bdef (test_\w+)", path.read_text()))
        if name.startswith("test_") and len(name) > _TEST_NAME_LENGTH
    }
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("_last_published_at", ["last", "published", "at"]),
        ("HTTPServer2Name", ["http", "server", "name"]),
        ("HomeAssistantTLS", ["home", "assistant", "tls"]),
        ("WAKE_UP", ["wake", "up"]),
    ],
)
def test_split_identifier_returns_terms(name: str, terms: list[str]) -> None:
    assert _split(name) == terms


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(a, *b, c=1, **d): e = a", {"f", "a", "b", "c", "d", "e"}),
        ("class A:\n    x: int = 0\n    def g(self): self.y = 1", {"A", "x", "g", "self", "y"}),
        ("for i, (j, k) in z:\n    with o as p: (q := r)", {"i", "j", "k", "p", "q"}),
        ("import m as n\ntry: pass\nexcept E as s: [t for t in u]", {"n", "s", "t"}),
        ("match v:\n    case {'w': w, **x}: pass\n    case [y, *a1]: pass", {"w", "x", "y", "a1"}),
    ],
)
def test_defined_names_of_source_are_found(source: str, names: set[str]) -> None:
    assert {name for node in ast.walk(ast.parse(source)) for name in _defined(node)} == names


@pytest.mark.parametrize(
    ("file", "name", "banned"),
    [
        ("tests/x.py", "HomeAssistant", set()),
        ("tests/x.py", "home_assistant_assistant", {"assistant"}),
        ("tests/x.py", "placeholder", set()),
        ("tests/x.py", "fault", set()),
        ("evse_mqtt_bridge/config/x.py", "Fault", {"fault"}),
    ],
)
def test_banned_terms_of_identifier_are_found(file: str, name: str, banned: set[str]) -> None:
    assert _banned_terms(_Identifier(file, 1, name)) == banned
