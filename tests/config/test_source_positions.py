"""Lines of keys agree with tomllib: a key is on the line of the statement that makes tomllib report it."""

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.config.schema_index import KeyPath
from evse_mqtt_bridge.config.source_positions import Block, blocks, key_lines, line_of

TEXT = '''\
# [comment]
a.b = 1.5  # x ] "
"q.x" = """
many [lines]
a = 1 \\""" ""
"""
'literal' = \'\'\'
"""
\'\'\'
array = [ # [
  1, [2,
  3], { x = "}#", y.z = 1979-05-27 07:32:00 },
]
[mqtt]  # [other]
host = 'a#b'
[ mqtt . "tls" ]
[[stations]]
uuid = "x"
  [stations.plugs]
  "a \\u0062" = "left"
[log]
level = "a"
[[stations]]
uuid = \'\'\'a

b\'\'\'
token = ""
[[stations.nested]]
x = 1
[[stations.nested]]
x = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("a", "b"), 2),
        (("q.x",), 3),
        (("literal",), 7),
        (("array",), 10),
        (("array", 0), 11),
        (("array", 1), 11),
        (("array", 1, 1), 12),
        (("array", 2), 12),
        (("array", 2, "y", "z"), 12),
        (("mqtt",), 14),
        (("mqtt", "host"), 15),
        (("mqtt", "tls"), 16),
        (("stations",), 17),
        (("stations", 0), 17),
        (("stations", 0, "uuid"), 18),
        (("stations", 0, "plugs"), 19),
        (("stations", 0, "plugs", "a b"), 20),
        (("log", "level"), 22),
        (("stations", 1), 23),
        (("stations", 1, "uuid"), 24),
        (("stations", 1, "token"), 27),
        (("stations", 1, "nested", 1, "x"), 31),
        (("mqtt", "port"), 14),
        (("mqtt", "tls", "ca_file"), 16),
        (("stations", 1, "plugs", "x"), 23),
        (("stations", 7), 17),
        (("nowhere",), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_of_key_returns_its_line(path: KeyPath, line: int | None, newline: str) -> None:
    assert line_of(TEXT.replace("\n", newline), path) == line


def test_key_lines_cover_every_value() -> None:
    assert set(key_lines(TEXT)) == set(_paths(tomllib.loads(TEXT)))


def test_blocks_return_tables_with_lines() -> None:
    assert blocks(TEXT) == (
        Block((), 0, 13),
        Block(("mqtt",), 14, 15),
        Block(("mqtt", "tls"), 16, 16),
        Block(("stations", 0), 17, 18),
        Block(("stations", 0, "plugs"), 19, 20),
        Block(("log",), 21, 22),
        Block(("stations", 1), 23, 27),
        Block(("stations", 1, "nested", 0), 28, 29),
        Block(("stations", 1, "nested", 1), 30, 31),
    )


KEYS = st.sampled_from(["a", "b-1", '"c d"', "'e#'", '"[f]"', "1"])
SCALARS = st.sampled_from(
    ["1", "-1.5e3", "true", '"x]"', "'#'", '"\\""', '"""\n"a"\n= ]"""', '"""a""""', "'''\n[x]\n'''", "07:32:00", '""']
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n  # , ]\n" + " ,\n".join(items) + "\n]"),
    max_leaves=4,
)
PAIRS = st.tuples(st.lists(KEYS, min_size=1, max_size=2).map(" . ".join), VALUES).map(" = ".join)
HEADERS = st.tuples(
    st.sampled_from([("[", "]"), ("[[", "]]")]), st.lists(KEYS, min_size=1, max_size=3).map(".".join)
).map(lambda parts: f"{parts[0][0]} {parts[1]} {parts[0][1]}")
STATEMENTS = st.one_of(PAIRS, HEADERS, st.just("# [x] = 1"), st.just(""), st.just("x = { a = 1, b.c = '}' } # }"))


@given(st.lists(STATEMENTS, max_size=12))
def test_key_lines_of_any_text_agree_with_tomllib(statements: list[str]) -> None:
    """Skip statements that are invalid after the previous ones; each new key must be in its own statement."""
    text = ""
    expected: dict[KeyPath, tuple[int, int]] = {}
    for statement in statements:
        extended = f"{text}{statement}\n"
        try:
            known = tomllib.loads(extended)
        except tomllib.TOMLDecodeError:
            continue
        first, last = text.count("\n") + 1, extended.count("\n")
        for path in _paths(known):
            expected.setdefault(path, (first, last))
        text = extended
    lines = key_lines(text)
    assert lines.keys() == expected.keys()
    for path, (first, last) in expected.items():
        assert first <= lines[path] <= last


def _paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))
