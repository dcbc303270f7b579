"""Finds the line of each key in a TOML text, which tomllib does not report.

The text must be valid: tomllib has to parse it first. The reader distinguishes keys, brackets, strings and comments,
and skips values.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from evse_mqtt_bridge.config.schema_index import KeyPath

__all__ = ["Block", "blocks", "key_lines", "line_of"]

_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\]|\\.)*"|\'[^\']*\''
_TOKEN = re.compile(rf"#[^\n]*|(?P<token>\n|{_STRING}|[\[\]{{}},=.]|[^\s\[\]{{}},=.#\"']+)", re.DOTALL)
_END = ""


class Block(NamedTuple):
    """A table header with the values below it; the values above the first header are a block as well.

    Attributes:
        path: The path of the table; empty above the first header.
        first: The line of the header, from 1; 0 above the first header.
        last: The line on which the last value ends, from 1.
    """

    path: KeyPath
    first: int
    last: int


def line_of(text: str, path: KeyPath) -> int | None:
    """Return the line of a key, or of the innermost table around it, or `None`; `text` must be valid TOML."""
    lines = key_lines(text)
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, of every key, table and array element of a valid TOML text."""
    return _Reader(text).lines


def blocks(text: str) -> tuple[Block, ...]:
    """Return the tables that have a header in a valid TOML text, in the order of the text."""
    return tuple(_Reader(text).blocks)


class _Reader:
    """Reads the tokens once, and collects `lines` and `blocks`."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.blocks: list[Block] = []
        self._last_index: dict[KeyPath, int] = {}
        self._tokens = _tokens(text)
        self._current, self._line = next(self._tokens)
        self._last_line = 0  # the line on which the previous token ends
        self._document()

    def _advance(self) -> str:
        token = self._current
        self._last_line = self._line + token.count("\n")
        self._current, self._line = next(self._tokens)
        return token

    def _skip_newlines(self) -> None:
        while self._current == "\n":
            self._advance()

    def _document(self) -> None:
        path: KeyPath = ()
        first = last = 0
        self._skip_newlines()
        while self._current != _END:
            if self._current == "[":
                self.blocks.append(Block(path, first, last))
                first = self._line
                path = self._header()
            else:
                self._pair(path)
            last = self._last_line
            self._skip_newlines()
        self.blocks.append(Block(path, first, last))

    def _header(self) -> KeyPath:
        """Read `[a.b]` or `[[a.b]]`; an array on an outer level represents its last element."""
        line = self._line
        self._advance()
        is_element = self._current == "["
        if is_element:
            self._advance()
        *outer, name = self._key()
        path: KeyPath = ()
        for part in outer:
            path = (*path, part)
            self.lines.setdefault(path, line)
            if path in self._last_index:
                path = (*path, self._last_index[path])
        path = (*path, name)
        self.lines.setdefault(path, line)
        self._advance()
        if is_element:
            self._advance()
            self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, self._last_index[path])
            self.lines[path] = line
        return path

    def _pair(self, path: KeyPath) -> None:
        """Read `a.b = value`."""
        line = self._line
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._advance()
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        parts = [_part(self._advance())]
        while self._current == ".":
            self._advance()
            parts.append(_part(self._advance()))
        return tuple(parts)

    def _value(self, path: KeyPath) -> None:
        if self._current not in ("[", "{"):
            while self._current not in (",", "]", "}", "\n", _END):
                self._advance()
            return
        is_array = self._advance() == "["
        index = 0
        self._skip_newlines()
        while self._current not in ("]", "}"):
            if is_array:
                self.lines[*path, index] = self._line
                self._value((*path, index))
                index += 1
            else:
                self._pair(path)
            self._skip_newlines()
            if self._current == ",":
                self._advance()
                self._skip_newlines()
        self._advance()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Yield each token and its first line, without spaces and comments, followed by empty tokens without end."""
    line, position = 1, 0
    for match in _TOKEN.finditer(text):
        if match["token"] is not None:
            line += text.count("\n", position, match.start())
            position = match.start()
            yield match["token"], line
    while True:
        yield _END, line


def _part(token: str) -> str:
    """Return the text of one part of a key, quoted or bare."""
    return next(iter(tomllib.loads(f"{token} = 0"))) if token[0] in "\"'" else token
