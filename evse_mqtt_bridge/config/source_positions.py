"""On which line of a TOML text each key stands.

tomllib says what a text means and not where. This reads the same text once more for nothing but the places, and relies
on tomllib having accepted it: keys, brackets, strings and comments are told apart, values are skipped.
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
    """A table header with the values under it: its path, the header's line, and the line on which the last value ends.

    Lines count from 1. What stands before the first header is a block too, with an empty path and `first` 0.
    """

    path: KeyPath
    first: int
    last: int


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, of the key at `path`, or of the nearest table around it; `None` where there is neither.

    `text` has to be valid TOML.
    """
    known = key_lines(text)
    return next((known[path[:length]] for length in range(len(path), 0, -1) if path[:length] in known), None)


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """The line, from 1, of every key, table and array element of a valid TOML text."""
    return _Reader(text).lines


def blocks(text: str) -> tuple[Block, ...]:
    """The tables of a valid TOML text that have a header of their own, in the order of the text."""
    return tuple(_Reader(text).blocks)


class _Reader:
    """Goes through the tokens once; `lines` and `blocks` are what it found."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.blocks: list[Block] = []
        self._last_index: dict[KeyPath, int] = {}
        self._tokens = _tokens(text)
        self._current, self._line = next(self._tokens)
        self._ended = 0  # the line on which the token before this one ended
        self._document()

    def _take(self) -> str:
        taken = self._current
        self._ended = self._line + taken.count("\n")
        self._current, self._line = next(self._tokens)
        return taken

    def _skip_newlines(self) -> None:
        while self._current == "\n":
            self._take()

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
            last = self._ended
            self._skip_newlines()
        self.blocks.append(Block(path, first, last))

    def _header(self) -> KeyPath:
        """`[a.b]`, or `[[a.b]]`, which begins an element; every level but the last means its array's last element."""
        line = self._line
        self._take()
        is_element = self._current == "["
        if is_element:
            self._take()
        *outer, name = self._key()
        path: KeyPath = ()
        for part in outer:
            path = (*path, part)
            self.lines.setdefault(path, line)
            if path in self._last_index:
                path = (*path, self._last_index[path])
        path = (*path, name)
        self.lines.setdefault(path, line)
        self._take()
        if is_element:
            self._take()
            self._last_index[path] = self._last_index.get(path, -1) + 1
            path = (*path, self._last_index[path])
            self.lines[path] = line
        return path

    def _pair(self, path: KeyPath) -> None:
        """`a.b = value`."""
        line = self._line
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._take()
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        parts = [_part(self._take())]
        while self._current == ".":
            self._take()
            parts.append(_part(self._take()))
        return tuple(parts)

    def _value(self, path: KeyPath) -> None:
        if self._current not in ("[", "{"):
            while self._current not in (",", "]", "}", "\n", _END):
                self._take()
            return
        is_array = self._take() == "["
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
                self._take()
                self._skip_newlines()
        self._take()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Each token with the line on which it begins, without space and comments; at the end an empty one, for ever."""
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        if match["token"] is not None:
            line += text.count("\n", seen, match.start())
            seen = match.start()
            yield match["token"], line
    while True:
        yield _END, line


def _part(token: str) -> str:
    """One part of a key, quoted or bare, as the text that it stands for."""
    return next(iter(tomllib.loads(f"{token} = 0"))) if token[0] in "\"'" else token
