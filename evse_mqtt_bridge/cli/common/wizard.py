"""The dialogue of `init`: gets answers from options or prompts, and tests each part before the next question."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.given_answers import GivenAnswers
from evse_mqtt_bridge.cli.common.poll_errors import poll_error
from evse_mqtt_bridge.cli.common.prompts import Prompter, SecretReader, relative_to_config
from evse_mqtt_bridge.cli.common.tables import print_plugs
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.answers import Answers, BrokerAnswers, StationAnswers, render_answers
from evse_mqtt_bridge.config.errors import printable
from evse_mqtt_bridge.config.load import parse
from evse_mqtt_bridge.config.schema import Cloud, Config, HomeAssistant, Mqtt, Polling, StationConfig, default_port
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, variable_name
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.support.errors import BridgeError, ConfigError, EditError, UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["Wizard"]

_DEFAULTS = Mqtt(host="localhost")


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
        self._prompter = Prompter(sys.stdin.isatty() and not given.no_input)
        self._secrets = SecretReader(sys.stdin.buffer)

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
        question = "Publish discovery for Home Assistant?"
        answers = replace(
            answers,
            homeassistant=self._prompter.yes(question, given=given.homeassistant, default=HomeAssistant().enabled),
        )
        self._config(answers, self._environ)
        return self._text(answers)

    # the broker

    def _with_broker(self, answers: Answers) -> Answers:
        candidate = replace(answers, broker=self._ask_broker(answers.broker, self._given))
        while True:
            try:
                self._test_broker(candidate)
            except (ConfigError, UnavailableError) as error:
                if self._resolve(error, "retry", "keep") == "keep":
                    return candidate
                broker = self._ask_broker(candidate.broker, self._given.without_broker())
                candidate = replace(answers, broker=broker)
            else:
                return candidate

    def _ask_broker(self, previous: BrokerAnswers, given: GivenAnswers) -> BrokerAnswers:
        """Return the answers about the broker; prompts propose the previous ones."""
        ask = self._prompter
        host = ask.text("Broker host", "--host", ("mqtt", "host"), given=given.host, proposal=previous.host)
        tls = ask.yes("Use TLS?", given=given.uses_tls, default=previous.tls)
        usual_port = default_port(tls=tls)
        proposed = previous.port if previous.port is not None and tls == previous.tls else usual_port
        port = int(ask.number("Port", "--port", ("mqtt", "port"), given=given.port, default=proposed))
        broker = BrokerAnswers(host, None if port == usual_port else port)
        if tls:
            ca_file = ask.text(
                "CA file of the broker (empty: the system's CAs)",
                "--ca-file",
                ("mqtt", "tls", "ca_file"),
                given=given.ca_file,
                default="",
                proposal=previous.ca_file,
            )
            broker = replace(
                broker, tls=True, ca_file=ca_file, cert_file=previous.cert_file, key_file=previous.key_file
            )
        username = ask.text(
            "User name (empty: none)",
            "--username",
            ("mqtt", "username"),
            given=given.username,
            default="",
            proposal=previous.username,
        )
        return self._with_password(replace(broker, username=username), given)

    def _with_password(self, broker: BrokerAnswers, given: GivenAnswers) -> BrokerAnswers:
        """Return the answers with the password, or the file that contains it, if there is a user name."""
        password = None
        if given.password_stdin:  # read even if it is not needed, because the next line is another secret
            password = self._secrets.next_line("--password-stdin", ("mqtt", "password"), "the password")
        if not broker.username and not self._is_in_environment("mqtt", "username"):
            if (given.password_file is not None or given.password_stdin) and not self._prompter.is_interactive:
                raise click.UsageError("--password-file and --password-stdin need --username.")
            return broker
        if self._is_in_environment("mqtt", "password"):
            return broker
        if given.password_file is not None:
            return replace(broker, password_file=given.password_file)
        if password is None:
            missing = "The password is missing: add --password-file or --password-stdin."
            password = self._prompter.hidden("Password", ("mqtt", "password"), missing, may_be_empty=True)
        return replace(broker, password=password)

    def _test_broker(self, answers: Answers) -> None:
        settings = self._config(answers, _variables_of(("mqtt",), self._environ)).mqtt
        if not self._given.skip_tests:
            asyncio.run(_connect(settings))

    # the stations

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
        number = len(answers.stations)
        station = self._ask_station(number, fields)
        while True:
            candidate = replace(answers, stations=(*answers.stations, station))
            try:
                self._test_station(candidate)
            except (ConfigError, EditError, UnavailableError) as error:
                match self._resolve(error, "retry", "keep", "skip"):
                    case "keep":
                        return candidate
                    case "skip":
                        return answers
                station = self._ask_station(number, {}, station)
            else:
                return candidate

    def _ask_station(
        self, number: int, fields: Mapping[str, str], previous: StationAnswers | None = None
    ) -> StationAnswers:
        """Return the answers about a station: those in `fields`, or, if it is empty, the answers to prompts.

        Args:
            number: Index of the station, from 0.
            fields: The fields of the option `--station`; empty: prompt for them.
            previous: The answers that prompts propose.
        """

        def text(key: str, question: str, default: str | None = None) -> str:
            given = fields.get(key, default) if fields else None
            option = f"--station (number {number + 1}): {key}"
            path: KeyPath = ("stations", EACH, key)
            return self._prompter.text(
                question, option, path, given=given, default=default, proposal=getattr(previous, key, None)
            )

        station = StationAnswers(
            edge_device_id=text("edge_device_id", "Edge device ID"),
            uuid=text("uuid", "Station UUID"),
            name=text("name", "Display name (empty: none)", ""),
            alias=text("alias", "Alias, replaces the UUID in topics (empty: none)", ""),
        )
        path: KeyPath = ("stations", EACH, "token")
        file, token = fields.get("token_file"), None
        if fields and not file and self._given.token_stdin:  # read even if it is not needed, like the password
            token = self._secrets.next_line("--token-stdin", path, f"the token of {station.uuid}")
        if self._is_in_environment("stations", number, "token"):
            return station
        if file:
            return replace(station, token_file=file)
        if token is not None:
            return replace(station, token=token)
        missing = f"The token of {station.uuid} is missing: add token_file=FILE to --station, or --token-stdin."
        return replace(station, token=self._prompter.hidden("Token", path, missing))

    def _test_station(self, answers: Answers) -> None:
        """Poll the last station and print its plugs."""
        config = self._config(answers, self._environ)
        station = config.stations[len(answers.stations) - 1]
        if not self._given.skip_tests:
            asyncio.run(_poll(config.cloud, station))

    # the rest

    def _with_interval(self, answers: Answers) -> Answers:
        given = self._given.interval
        while True:
            interval = self._prompter.number(
                "Poll interval in seconds",
                "--interval",
                ("polling", "interval"),
                given=given,
                default=Polling().interval,
            )
            candidate = replace(answers, interval=interval)
            try:
                self._config(candidate, self._environ)
            except ConfigError as error:
                if self._resolve(error, "retry") == "retry":
                    given = None
            else:
                return candidate

    def _is_in_environment(self, *path: str | int) -> bool:
        """Return whether the environment sets a secret or its file; it is then neither prompted for nor written."""
        names = {variable_name(path), variable_name((*path[:-1], f"{path[-1]}_file"))}
        return not names.isdisjoint(name.upper() for name in self._environ)

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


async def _connect(settings: Mqtt) -> None:
    """Connect to the broker and print the result.

    Raises:
        UnavailableError: The broker does not answer, or rejects the connection.
    """
    click.echo(f"Connecting to {settings.address} ...")
    async with one_shot_client(settings, "init"):
        click.echo("  the broker accepted the connection\n")


async def _poll(settings: Cloud, station: StationConfig) -> None:
    """Poll a station and print its plugs.

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


def _initial_broker(given: GivenAnswers) -> BrokerAnswers:
    """Return the answers that the first prompts propose."""
    uses_tls = bool(given.cert_file or given.key_file)
    return BrokerAnswers(_DEFAULTS.host, tls=uses_tls, cert_file=given.cert_file, key_file=given.key_file)


def _variables_of(path: KeyPath, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of one table; those of other tables may be invalid until their questions are answered."""
    return {name: text for name, text in environ.items() if name.upper().startswith(variable_name(path))}
