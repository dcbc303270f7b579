"""Gets answers to questions: from options, else from prompts in a terminal, else from defaults."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import click

from evse_mqtt_bridge.config.answers import value_error
from evse_mqtt_bridge.config.schema_index import KeyPath
from evse_mqtt_bridge.config.secrets import without_newline

__all__ = ["Prompter", "Question", "SecretReader", "relative_to_config"]

T = TypeVar("T")

_MAX_LINE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one setting.

    Attributes:
        text: The prompt.
        option: The option that answers the question, for errors.
        path: The setting whose rules validate the answer.
        default: The answer without a terminal, and for Enter; `None`: an answer is required.
        if_empty: The meaning of an empty answer, for the prompt; used if `default` is empty.
    """

    text: str
    option: str
    path: KeyPath
    default: str | float | None = None
    if_empty: str = "none"

    def prompt(self, on_enter: object) -> str:
        """Return the prompt, which explains how to give an empty answer.

        Args:
            on_enter: The answer for Enter.
        """
        if self.default != "":
            return self.text
        return f"{self.text} ({'- for' if on_enter else 'empty:'} {self.if_empty})"


@dataclass(frozen=True, slots=True)
class Prompter:
    """Gets answers to questions.

    An answer given as an option is not prompted for; UsageError if the schema rejects it. A prompt repeats until the
    answer is valid. Without prompts, a question takes its default; UsageError names the option if it has none.

    Attributes:
        is_interactive: Whether there is a terminal to prompt in.
    """

    is_interactive: bool

    def text(
        self,
        question: Question,
        *,
        given: str | None = None,
        proposal: str | None = None,
        conflict: Callable[[str], str | None] = lambda _: None,
    ) -> str:
        """Return one line of text.

        Args:
            question: The question.
            given: The answer given as an option; `None`: not given.
            proposal: The answer for Enter in a terminal; `None`: the default.
            conflict: Returns why a typed answer contradicts other settings, or `None`. Given answers are not checked.
        """
        return self._answer(question, str, given, proposal, conflict)

    def number(self, question: Question, *, given: float | None = None) -> float:
        """Return a number, as an int if it is whole. The arguments are those of `text`."""
        if given is not None and float(given).is_integer():
            given = int(given)
        return self._answer(question, _parse_number, given, None, lambda _: None)

    def yes(self, question: str, *, given: bool | None = None, default: bool) -> bool:
        """Return whether the answer is yes."""
        if given is not None:
            return given
        return click.confirm(question, default=default) if self.is_interactive else default

    def hidden(self, question: str, path: KeyPath, missing: str, *, may_be_empty: bool = False) -> str:
        """Return a secret, which the terminal does not echo.

        Args:
            question: The prompt.
            path: The setting whose rules validate the answer.
            missing: The error without a terminal.
            may_be_empty: Whether an empty answer is accepted.
        """
        if not self.is_interactive:
            raise click.UsageError(missing)
        while True:
            answer: str = click.prompt(
                f"{question} (hidden{'; empty: none' if may_be_empty else ''})",
                hide_input=True,
                default="" if may_be_empty else None,
                show_default=False,
            )
            error = value_error(path, answer)
            if error is None or (may_be_empty and not answer):
                return answer
            click.echo(f"  {error}")

    def choice(self, question: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices; Enter takes the first. Requires a terminal."""
        answer: str = click.prompt(question, type=click.Choice(choices), default=choices[0])
        return answer

    def _answer(
        self,
        question: Question,
        read: Callable[[str], T | None],
        given: T | None,
        proposal: T | None,
        conflict: Callable[[T], str | None],
    ) -> T:
        default = cast("T | None", question.default)
        if given is None and not self.is_interactive:
            if default is None:
                raise click.UsageError(f"{question.option} is missing; it answers the question: {question.text}")
            return default
        if given is not None:
            if error := value_error(question.path, given):
                raise click.UsageError(f"{question.option}: {error}")
            return given
        on_enter = default if proposal is None else proposal
        is_clearable = default == "" and on_enter != ""
        while True:
            typed: str = click.prompt(
                question.prompt(on_enter),
                default=None if on_enter is None else str(on_enter),
                show_default=on_enter != "",
            )
            answer = read("" if is_clearable and typed == "-" else typed.strip())
            if answer is None:
                click.echo("  expected a number")
            elif answer != default and (error := value_error(question.path, answer) or conflict(answer)):
                click.echo(f"  {error}")
            else:
                return answer


@dataclass(slots=True)
class SecretReader:
    """Reads secrets from standard input, one per line, in the order in which they are needed."""

    stream: BinaryIO
    _lines: int = field(default=0)

    def next_line(self, option: str, path: KeyPath, purpose: str) -> str:
        """Return the next line, which is the value of the setting at `path`.

        Args:
            option: The option that announced the line, for errors.
            path: The setting.
            purpose: The name of the secret, for errors.

        Raises:
            click.UsageError: There is no further line, or the schema rejects it.
        """
        content = self.stream.readline(_MAX_LINE)
        self._lines += 1
        source = f"{option}: line {self._lines} of standard input, {purpose},"
        if not content:
            raise click.UsageError(f"{source} is missing")
        try:
            text = without_newline(content.decode())
        except UnicodeDecodeError:
            raise click.UsageError(f"{source} is not UTF-8 text") from None
        if error := value_error(path, text):
            raise click.UsageError(f"{source} is invalid: {error}")
        return text


def relative_to_config(folder: Path, file: str) -> str:
    """Return a file name as a configuration in `folder` refers to it: relative if the file is in or below the folder.

    An empty name stays empty.
    """
    if not file:
        return ""
    # os.path.expanduser leaves unknown users unchanged, while Path.expanduser raises.
    absolute, home = Path(os.path.expanduser(file)).absolute(), folder.absolute()  # noqa: PTH111
    return str(absolute.relative_to(home) if absolute.is_relative_to(home) else absolute)


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value
