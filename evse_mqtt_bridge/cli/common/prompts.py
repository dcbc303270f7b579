"""Answers: from options, else asked on the terminal, else an error that names the option."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import click

from evse_mqtt_bridge.config.answers import value_error
from evse_mqtt_bridge.config.schema_index import KeyPath

__all__ = ["Prompter", "Secrets", "seen_from"]

T = TypeVar("T")

_LONGEST_LINE = 65_536


@dataclass(frozen=True, slots=True)
class Prompter:
    """Gets answers. Where `is_there` is false nobody is asked: a default is taken, or UsageError names the option.

    An answer that was given as an option is not asked for; one that the schema refuses is a UsageError. On the terminal
    it is asked again until it is right.
    """

    is_there: bool

    def text(  # noqa: PLR0913  # a question has as many sides
        self,
        question: str,
        option: str,
        path: KeyPath,
        *,
        given: str | None = None,
        default: str | None = None,
        proposal: str | None = None,
    ) -> str:
        """One line. `proposal` is what Enter means; `default` also what silence means."""
        return self._answer(question, option, path, str, given, default, proposal)

    def number(
        self, question: str, option: str, path: KeyPath, *, given: float | None = None, default: float | None = None
    ) -> float:
        """A number, a whole one as such."""
        if given is not None and float(given).is_integer():
            given = int(given)
        return self._answer(question, option, path, _number, given, default, default)

    def yes(self, question: str, *, given: bool | None = None, default: bool) -> bool:
        """Yes or no."""
        if given is not None:
            return given
        return click.confirm(question, default=default) if self.is_there else default

    def hidden(self, question: str, path: KeyPath, missing: str, *, may_be_empty: bool = False) -> str:
        """A secret, which is not shown; `missing` says what is to be done where nobody can be asked."""
        if not self.is_there:
            raise click.UsageError(missing)
        while True:
            answer: str = click.prompt(
                f"{question} (is not shown)", hide_input=True, default="" if may_be_empty else None, show_default=False
            )
            words = value_error(path, answer)
            if words is None or (may_be_empty and not answer):
                return answer
            click.echo(f"  {words}")

    def choice(self, question: str, words: tuple[str, ...]) -> str:
        """One of the words; the first is what Enter means. To be asked on a terminal alone."""
        answer: str = click.prompt(question, type=click.Choice(words), default=words[0])
        return answer

    def _answer(  # noqa: PLR0913, PLR0917  # as above
        self,
        question: str,
        option: str,
        path: KeyPath,
        read: Callable[[str], T | None],
        given: T | None,
        default: T | None,
        proposal: T | None,
    ) -> T:
        if given is None and not self.is_there:
            given = default
            if given is None:
                raise click.UsageError(f"{option} is missing; it answers: {question}")
        if given is not None:
            if words := value_error(path, given):
                raise click.UsageError(f"{option}: {words}")
            return given
        enter = default if proposal is None else proposal
        may_be_none = default == "" and enter != ""
        if may_be_none:
            question += " (- for none)"
        while True:
            typed: str = click.prompt(question, default=None if enter is None else str(enter), show_default=enter != "")
            answer = read("" if may_be_none and typed == "-" else typed.strip())
            words = "expected a number" if answer is None else value_error(path, answer)
            if answer is not None and words is None:
                return answer
            click.echo(f"  {words}")


@dataclass(slots=True)
class Secrets:
    """Secrets from standard input, one a line, in the order in which they are asked for."""

    stream: BinaryIO
    _lines: int = field(default=0)

    def line(self, option: str, path: KeyPath, whose: str) -> str:
        """The next one, which is the setting at `path`.

        Raises:
            click.UsageError: standard input ended, or the line cannot be that setting.
        """
        content = self.stream.readline(_LONGEST_LINE)
        self._lines += 1
        place = f"{option}: line {self._lines} of standard input, {whose},"
        if not content:
            raise click.UsageError(f"{place} is missing")
        try:
            text = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError(f"{place} is not UTF-8 text") from None
        if words := value_error(path, text):
            raise click.UsageError(f"{place} cannot be it: {words}")
        return text


def seen_from(folder: Path, file: str) -> str:
    """A file's name as it is written into a configuration in `folder`: relative where it stands in or below it."""
    if not file:
        return ""
    absolute, home = Path(os.path.expanduser(file)).absolute(), folder.absolute()  # noqa: PTH111  # which never fails
    return str(absolute.relative_to(home) if absolute.is_relative_to(home) else absolute)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value
