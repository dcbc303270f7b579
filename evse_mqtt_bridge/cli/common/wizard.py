"""The dialogue of `init`: answers from options or from the terminal, each part tried before the next one is asked."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.prompts import Prompter, Secrets, seen_from
from evse_mqtt_bridge.cli.common.tables import print_plugs
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.answers import Answers, BrokerAnswers, StationAnswers, render_answers
from evse_mqtt_bridge.config.errors import printable
from evse_mqtt_bridge.config.load import parse
from evse_mqtt_bridge.config.schema import Cloud, Config, HomeAssistant, Mqtt, Polling, StationConfig
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, variable_name
from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.mqtt.one_shot import one_shot
from evse_mqtt_bridge.support.errors import BridgeError, ConfigError, EditError, UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["Given", "Wizard"]

_AWAY = frozenset({Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED})
_USUAL = Mqtt(host="localhost")


@dataclass(frozen=True, slots=True)
class Given:
    """What was answered by options; `None` or empty: not."""

    host: str | None
    port: int | None
    tls: bool | None
    ca_file: str | None
    cert_file: str
    key_file: str
    username: str | None
    password_file: str | None
    password_stdin: bool
    cloud_url: str
    cloud_ca_file: str
    station: Sequence[Mapping[str, str]]
    no_stations: bool
    token_stdin: bool
    interval: float | None
    homeassistant: bool | None
    no_input: bool
    skip_tests: bool
    anyway: bool


class Wizard:
    """Goes through the questions once; `document` is what comes of the answers. Nothing is written here."""

    def __init__(self, path: Path, given: Given, environ: Mapping[str, str]) -> None:
        self._path = path
        self._given = given
        self._environ = environ
        self._asker = Prompter(sys.stdin.isatty() and not given.no_input)
        self._secrets = Secrets(sys.stdin.buffer)

    def document(self) -> str:
        """The text of the file.

        Raises:
            ConfigError, EditError, UnavailableError: what was answered is wrong, refused, or does not answer.
            click.UsageError: an answer is missing, or cannot be.
            click.Abort: the user ended it.
        """
        if self._asker.is_there:
            click.echo(f"A few questions, and then {self._path} is written.")
            click.echo("Enter takes what stands in brackets; Ctrl-C ends it, with nothing written.\n")
        given = self._given
        answers = Answers(_before(given), base_url=given.cloud_url, cloud_ca_file=given.cloud_ca_file)
        self._config(answers, _of(("cloud",), self._environ))  # what no question can mend is told before the first one
        answers = self._with_interval(self._with_stations(self._with_broker(answers)))
        question = "Should Home Assistant find the stations by itself?"
        answers = replace(
            answers,
            homeassistant=self._asker.yes(question, given=given.homeassistant, default=HomeAssistant().enabled),
        )
        self._config(answers, self._environ)
        return self._text(answers)

    # the broker

    def _with_broker(self, answers: Answers) -> Answers:
        given = self._given
        asked = replace(answers, broker=self._broker(answers.broker, given))
        while True:
            try:
                self._try_broker(asked)
            except (ConfigError, UnavailableError) as error:
                if self._after(error, "again", "keep") == "keep":
                    return asked
                asked = replace(answers, broker=self._broker(asked.broker, _to_be_asked(given)))
            else:
                return asked

    def _broker(self, before: BrokerAnswers, given: Given) -> BrokerAnswers:
        """The answers about the broker: what was given, and the rest asked for, with those before as proposals."""
        ask = self._asker
        host = ask.text("Broker, name or address", "--host", ("mqtt", "host"), given=given.host, proposal=before.host)
        tls = ask.yes("Does it speak TLS?", given=_tls(given), default=before.tls)
        usual = 8883 if tls else 1883
        proposed = before.port if before.port is not None and tls == before.tls else usual
        port = int(ask.number("Port", "--port", ("mqtt", "port"), given=given.port, default=proposed))
        broker = BrokerAnswers(host, None if port == usual else port)
        if tls:
            ca_file = ask.text(
                "File of the CA that signed its certificate; empty: the system's",
                "--ca-file",
                ("mqtt", "tls", "ca_file"),
                given=given.ca_file,
                default="",
                proposal=before.ca_file,
            )
            broker = replace(broker, tls=True, ca_file=ca_file, cert_file=before.cert_file, key_file=before.key_file)
        username = ask.text(
            "User name; empty: none",
            "--username",
            ("mqtt", "username"),
            given=given.username,
            default="",
            proposal=before.username,
        )
        return self._with_password(replace(broker, username=username), given)

    def _with_password(self, broker: BrokerAnswers, given: Given) -> BrokerAnswers:
        """With the password, or the file that holds it, where there is a user."""
        password = None
        if given.password_stdin:  # read wherever it is wanted or not: the next line is another secret
            password = self._secrets.line("--password-stdin", ("mqtt", "password"), "the password")
        if not broker.username and not self._is_in_the_environment("mqtt", "username"):
            if (given.password_file is not None or given.password_stdin) and not self._asker.is_there:
                raise click.UsageError("--password-file and --password-stdin are of no use without --username.")
            return broker
        if self._is_in_the_environment("mqtt", "password"):
            return broker
        if given.password_file is not None:
            return replace(broker, password_file=given.password_file)
        if password is None:
            missing = "The password is missing: give --password-file or --password-stdin."
            password = self._asker.hidden("Password; empty: none", ("mqtt", "password"), missing, may_be_empty=True)
        return replace(broker, password=password)

    def _try_broker(self, answers: Answers) -> None:
        mqtt = self._config(answers, _of(("mqtt",), self._environ)).mqtt
        if not self._given.skip_tests:
            asyncio.run(_try(mqtt))

    # the stations

    def _with_stations(self, answers: Answers) -> Answers:
        given = self._given
        for fields in given.station:
            answers = self._with_station(answers, fields)
        if given.station or given.no_stations:
            return answers
        if not self._asker.is_there:
            raise click.UsageError("--station is missing, once for each; --no-stations enters none.")
        while self._asker.yes(
            "Enter another station?" if answers.stations else "Enter a station?", default=not answers.stations
        ):
            answers = self._with_station(answers, {})
        return answers

    def _with_station(self, answers: Answers, fields: Mapping[str, str]) -> Answers:
        number = len(answers.stations)
        station = self._station(number, fields)
        while True:
            asked = replace(answers, stations=(*answers.stations, station))
            try:
                self._try_station(asked)
            except (ConfigError, EditError, UnavailableError) as error:
                match self._after(error, "again", "keep", "leave-out"):
                    case "keep":
                        return asked
                    case "leave-out":
                        return answers
                station = self._station(number, {}, station)
            else:
                return asked

    def _station(self, number: int, fields: Mapping[str, str], before: StationAnswers | None = None) -> StationAnswers:
        """The answers about a station: those among `fields`, or where there are none, all asked for."""

        def text(key: str, question: str, default: str | None = None) -> str:
            given = fields.get(key, default) if fields else None
            option = f"--station (the one with number {number + 1}): {key}"
            path: KeyPath = ("stations", EACH, key)
            return self._asker.text(
                question, option, path, given=given, default=default, proposal=getattr(before, key, None)
            )

        station = StationAnswers(
            edge_device_id=text("edge_device_id", "Edge device id"),
            uuid=text("uuid", "Uuid of the station"),
            name=text("name", "Name, as people call it; empty: none", ""),
            alias=text("alias", "Alias, in the place of the uuid in topics; empty: none", ""),
        )
        path: KeyPath = ("stations", EACH, "token")
        file, token = fields.get("token_file"), None
        if fields and not file and self._given.token_stdin:  # read wherever it is wanted or not, as the password is
            token = self._secrets.line("--token-stdin", path, f"the token of {station.uuid}")
        if self._is_in_the_environment("stations", number, "token"):
            return station
        if file:
            return replace(station, token_file=file)
        if token is not None:
            return replace(station, token=token)
        missing = f"The token of {station.uuid} is missing: put token_file=FILE into --station, or give --token-stdin."
        return replace(station, token=self._asker.hidden("Token", path, missing))

    def _try_station(self, answers: Answers) -> None:
        """Asks the last one, and shows its plugs."""
        config = self._config(answers, self._environ)
        station = config.stations[len(answers.stations) - 1]
        if self._given.skip_tests:
            return
        asyncio.run(_ask(config.cloud, station))

    # the rest

    def _with_interval(self, answers: Answers) -> Answers:
        given = self._given.interval
        while True:
            interval = self._asker.number(
                "Seconds between two polls of a station",
                "--interval",
                ("polling", "interval"),
                given=given,
                default=Polling().interval,
            )
            asked = replace(answers, interval=interval)
            try:
                self._config(asked, self._environ)
            except ConfigError as error:
                if self._after(error, "again") == "again":
                    given = None
            else:
                return asked

    def _is_in_the_environment(self, *path: str | int) -> bool:
        """Whether a secret, or the file that holds it, is set there; it is then neither asked for nor written."""
        names = {variable_name(path), variable_name((*path[:-1], f"{path[-1]}_file"))}
        return not names.isdisjoint(name.upper() for name in self._environ)

    def _text(self, answers: Answers) -> str:
        """The file; answers name files from where they are given, and the file from its own folder."""

        def seen(file: str) -> str:
            return seen_from(self._path.parent, file)

        broker = answers.broker
        located = replace(
            broker,
            ca_file=seen(broker.ca_file),
            cert_file=seen(broker.cert_file),
            key_file=seen(broker.key_file),
            password_file=seen(broker.password_file),
        )
        stations = [replace(station, token_file=seen(station.token_file)) for station in answers.stations]
        return render_answers(
            replace(answers, broker=located, stations=stations, cloud_ca_file=seen(answers.cloud_ca_file))
        )

    def _config(self, answers: Answers, environ: Mapping[str, str]) -> Config:
        """What the answers mean, with the environment.

        Raises:
            ConfigError: they are none; without lines, since there is no file yet.
        """
        try:
            return parse(self._text(answers), self._path, environ).config
        except ConfigError as error:
            place = printable(self._path)
            problems = [
                replace(problem, source="", line=None) if problem.source == place else problem
                for problem in error.problems
            ]
            raise ConfigError(*problems) from None

    def _after(self, error: BridgeError, *words: str) -> str:
        """What is wanted after a refusal: one of `words`. What makes no configuration cannot be kept.

        Raises:
            BridgeError: the error, where nobody is there to be asked.
            click.Abort: the user ended it.
        """
        may_be_kept = "keep" in words and not isinstance(error, ConfigError)
        if may_be_kept and self._given.anyway:
            click.echo(f"{error}; it is written anyway", err=True)
            return "keep"
        if not self._asker.is_there:
            raise type(error)(f"{error}; --anyway writes it all the same") if may_be_kept else error
        for line in str(error).splitlines():
            click.echo(f"  {line}")
        choices = tuple(word for word in (*words, "quit") if word != "keep" or may_be_kept)
        word = self._asker.choice("Answer again, or what else?", choices)
        if word == "quit":
            raise click.Abort
        click.echo()
        return word


async def _try(mqtt: Mqtt) -> None:
    """Connects to the broker, and says so; UnavailableError where that cannot be."""
    click.echo(f"Trying {mqtt.address} ...")
    async with one_shot(mqtt, "init"):
        click.echo("  the broker accepted the connection\n")


async def _ask(cloud: Cloud, station: StationConfig) -> None:
    """Asks the API for a station, and shows its plugs; EditError or UnavailableError where it is refused or away."""
    title = clean(station.name or station.alias or station.uuid)
    click.echo(f"Asking {title} ...")
    outcome = (await poll_once(cloud, [station]))[0]
    if isinstance(outcome, Failure):
        kind = UnavailableError if outcome.reason in _AWAY else EditError
        raise kind(f"{title}: {outcome.reason}: {outcome.detail}")
    print_plugs(outcome)
    click.echo()


def _before(given: Given) -> BrokerAnswers:
    """What stands before the first question."""
    is_tls = bool(given.cert_file or given.key_file)
    return BrokerAnswers(_USUAL.host, tls=is_tls, cert_file=given.cert_file, key_file=given.key_file)


def _of(path: KeyPath, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of one table alone: those of others may be of no use before their questions are answered."""
    return {name: text for name, text in environ.items() if name.upper().startswith(variable_name(path))}


def _to_be_asked(given: Given) -> Given:
    """The same without what was answered about the broker."""
    return replace(
        given,
        host=None,
        port=None,
        tls=None,
        ca_file=None,
        cert_file="",
        key_file="",
        username=None,
        password_file=None,
        password_stdin=False,
    )


def _tls(given: Given) -> bool | None:
    """Files for TLS say that it is wanted."""
    return True if given.ca_file or given.cert_file or given.key_file else given.tls
