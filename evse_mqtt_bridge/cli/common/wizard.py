"""The dialogue of `init`: asks one part after the other, and tests each before the next question."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.given_answers import GivenAnswers
from evse_mqtt_bridge.cli.common.poll_errors import poll_error
from evse_mqtt_bridge.cli.common.prompts import relative_to_config
from evse_mqtt_bridge.cli.common.questions import Questions
from evse_mqtt_bridge.cli.common.tables import print_plugs
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.answers import Answers, BrokerAnswers, StationAnswers, render_answers
from evse_mqtt_bridge.config.errors import printable
from evse_mqtt_bridge.config.load import parse
from evse_mqtt_bridge.config.schema import Cloud, Config, Mqtt, StationConfig
from evse_mqtt_bridge.config.schema_index import KeyPath, variable_name
from evse_mqtt_bridge.domain.model import Failure, PlugReading
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.support.errors import BridgeError, ConfigError, EditError, UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["Wizard"]

_DEFAULT_HOST = "localhost"
_PLACEHOLDER = "placeholder"
"""A token with which a station is validated before its own token is known."""


class Wizard:
    """Asks the questions of `init`; does not write the file.

    Args:
        path: The future configuration file; names of files in it are relative to its folder.
        given: Answers given as options.
        environ: The environment, whose variables override the answers.
    """

    def __init__(self, path: Path, given: GivenAnswers, environ: Mapping[str, str]) -> None:
        self._path = path
        self._given = given
        self._environ = environ
        self._questions = Questions(given, environ)
        self._prompter = self._questions.prompter

    def run(self) -> str:
        """Return the text of the configuration file.

        Raises:
            ConfigError: The answers do not form a valid configuration.
            EditError: The API rejects a station.
            UnavailableError: The broker or the API does not answer.
            click.UsageError: An answer is missing or invalid.
            click.Abort: The user cancelled.
        """
        if self._prompter.is_interactive:
            click.echo(f"Answer a few questions to create {self._path}.")
            click.echo("Enter accepts the value in brackets. Ctrl-C cancels without writing anything.\n")
        given = self._given
        answers = Answers(_initial_broker(given), base_url=given.cloud_url, cloud_ca_file=given.cloud_ca_file)
        self._config(answers, _variables_of(("cloud",), self._environ))  # no question can correct these settings
        answers = self._with_interval(self._with_stations(self._with_broker(answers)))
        answers = replace(answers, homeassistant=self._questions.homeassistant())
        self._config(answers, self._environ)
        return self._text(answers)

    # The broker

    def _with_broker(self, answers: Answers) -> Answers:
        candidate = replace(answers, broker=self._questions.broker(answers.broker))
        while True:
            try:
                self._test_broker(candidate)
            except (ConfigError, UnavailableError) as error:
                if self._resolve(error, "retry", "keep") == "keep":
                    return candidate
                candidate = replace(answers, broker=self._questions.broker(candidate.broker, again=True))
            else:
                return candidate

    def _test_broker(self, answers: Answers) -> None:
        settings = self._config(answers, _variables_of(("mqtt",), self._environ)).mqtt
        if not self._given.skip_tests:
            asyncio.run(_connect(settings))

    # The stations

    def _with_stations(self, answers: Answers) -> Answers:
        given = self._given
        for fields in given.station:
            answers = self._with_station(answers, fields)
        if given.station or given.no_stations:
            return answers
        if not self._prompter.is_interactive:
            raise click.UsageError("--station is missing; repeat it for each station, or add --no-stations.")
        while self._prompter.yes(
            "Add another station?" if answers.stations else "Add a station?", default=not answers.stations
        ):
            answers = self._with_station(answers, {})
        return answers

    def _with_station(self, answers: Answers, fields: Mapping[str, str]) -> Answers:
        """Ask for a station and test it, until it passes or the user keeps or skips it."""
        number = len(answers.stations)
        station = self._questions.station(number, fields)
        while True:
            try:
                if not self._questions.has_token(number, fields):
                    self._config(_added(answers, replace(station, token=_PLACEHOLDER)), self._environ)
                station = self._questions.token(station, number, fields)
                plugs = self._test_station(_added(answers, station))
            except (ConfigError, EditError, UnavailableError) as error:
                match self._resolve(error, "retry", "keep", "skip"):
                    case "keep":
                        return _added(answers, station)
                    case "skip":
                        return answers
                fields = {}
                station = self._questions.station(number, fields, station)
            else:
                return _added(answers, self._questions.plugs(station, plugs))

    def _test_station(self, answers: Answers) -> Sequence[PlugReading]:
        """Poll the last station, and print and return its plugs; none if tests are skipped."""
        config = self._config(answers, self._environ)
        station = config.stations[len(answers.stations) - 1]
        return () if self._given.skip_tests else asyncio.run(_poll(config.cloud, station))

    # The rest

    def _with_interval(self, answers: Answers) -> Answers:
        again = False
        while True:
            candidate = replace(answers, interval=self._questions.interval(again=again))
            try:
                self._config(candidate, self._environ)
            except ConfigError as error:
                again = self._resolve(error, "retry") == "retry"
            else:
                return candidate

    def _text(self, answers: Answers) -> str:
        """Return the text of the configuration file, with file names relative to its folder."""

        def relative(file: str) -> str:
            return relative_to_config(self._path.parent, file)

        broker = answers.broker
        located_broker = replace(
            broker,
            ca_file=relative(broker.ca_file),
            cert_file=relative(broker.cert_file),
            key_file=relative(broker.key_file),
            password_file=relative(broker.password_file),
        )
        stations = [replace(station, token_file=relative(station.token_file)) for station in answers.stations]
        cloud_ca_file = relative(answers.cloud_ca_file)
        return render_answers(replace(answers, broker=located_broker, stations=stations, cloud_ca_file=cloud_ca_file))

    def _config(self, answers: Answers, environ: Mapping[str, str]) -> Config:
        """Return the configuration from the answers and the environment.

        Raises:
            ConfigError: The configuration is invalid. Problems have no line numbers, because there is no file yet.
        """
        try:
            return parse(self._text(answers), self._path, environ).config
        except ConfigError as error:
            source = printable(self._path)
            problems = [
                replace(problem, source="", line=None) if problem.source == source else problem
                for problem in error.problems
            ]
            raise ConfigError(*problems) from None

    def _resolve(self, error: BridgeError, *choices: str) -> str:
        """Return the user's choice after an error. Answers that form an invalid configuration cannot be kept.

        Raises:
            BridgeError: There is no terminal; this is the error itself.
            click.Abort: The user cancelled.
        """
        can_be_kept = "keep" in choices and not isinstance(error, ConfigError)
        if can_be_kept and self._given.anyway:
            click.echo(f"{error}; written anyway", err=True)
            return "keep"
        if not self._prompter.is_interactive:
            raise type(error)(f"{error}; use --anyway to write it anyway") if can_be_kept else error
        for line in str(error).splitlines():
            click.echo(f"  {line}")
        offered = tuple(choice for choice in (*choices, "quit") if choice != "keep" or can_be_kept)
        chosen = self._prompter.choice("What next?", offered)
        if chosen == "quit":
            raise click.Abort
        click.echo()
        return chosen


def _added(answers: Answers, station: StationAnswers) -> Answers:
    return replace(answers, stations=(*answers.stations, station))


async def _connect(settings: Mqtt) -> None:
    """Connect to the broker and print the result.

    Raises:
        UnavailableError: The broker does not answer, or rejects the connection.
    """
    click.echo(f"Connecting to {settings.address} ...")
    async with one_shot_client(settings, "init"):
        click.echo("  the broker accepted the connection\n")


async def _poll(settings: Cloud, station: StationConfig) -> Sequence[PlugReading]:
    """Poll a station, and print and return its plugs.

    Raises:
        EditError: The API rejects the station.
        UnavailableError: The API does not answer.
    """
    title = clean(station.title)
    click.echo(f"Polling {title} ...")
    outcome = (await poll_once(settings, [station]))[0]
    if isinstance(outcome, Failure):
        raise poll_error(outcome, title)
    print_plugs(outcome)
    click.echo()
    return outcome.plugs


def _initial_broker(given: GivenAnswers) -> BrokerAnswers:
    """Return the answers that the first prompts propose."""
    uses_tls = bool(given.cert_file or given.key_file)
    return BrokerAnswers(_DEFAULT_HOST, tls=uses_tls, cert_file=given.cert_file, key_file=given.key_file)


def _variables_of(path: KeyPath, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of one table; those of other tables may be invalid until their questions are answered."""
    return {name: text for name, text in environ.items() if name.upper().startswith(variable_name(path))}
