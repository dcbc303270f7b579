"""The questions of `init`: one method per part of the configuration, answered by options or prompts."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import click

from evse_mqtt_bridge.cli.common.given_answers import PLUG_KEYS, GivenAnswers
from evse_mqtt_bridge.cli.common.plug_questions import ask_plugs
from evse_mqtt_bridge.cli.common.prompts import Prompter, Question, SecretReader
from evse_mqtt_bridge.config.answers import BrokerAnswers, StationAnswers
from evse_mqtt_bridge.config.schema import HomeAssistant, Polling, default_port
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, variable_name
from evse_mqtt_bridge.domain.identifiers import suggest_alias
from evse_mqtt_bridge.domain.model import PlugReading

__all__ = ["ALIAS_QUESTION", "Questions"]

ALIAS_QUESTION = "Alias, replaces the UUID in topics"
"""The question about the alias of a station."""

_PASSWORD: KeyPath = ("mqtt", "password")
_TOKEN: KeyPath = ("stations", EACH, "token")


class Questions:
    """Asks the questions; tests no answer.

    Args:
        given: Answers given as options.
        environ: The environment. Secrets that it contains are neither prompted for nor written.
    """

    def __init__(self, given: GivenAnswers, environ: Mapping[str, str]) -> None:
        self.prompter = Prompter(sys.stdin.isatty() and not given.no_input)
        self._given = given
        self._environ = environ
        self._secrets = SecretReader(sys.stdin.buffer)

    # The broker

    def broker(self, previous: BrokerAnswers, *, again: bool = False) -> BrokerAnswers:
        """Return the answers about the broker.

        Args:
            previous: The answers that prompts propose.
            again: Whether to prompt for answers that were given as options, too.
        """
        given, ask = self._given.without_broker() if again else self._given, self.prompter
        host = ask.text(Question("Broker host", "--host", ("mqtt", "host")), given=given.host, proposal=previous.host)
        tls = ask.yes("Use TLS?", given=given.uses_tls, default=previous.tls)
        usual_port = default_port(tls=tls)
        proposed = previous.port if previous.port is not None and tls == previous.tls else usual_port
        port = int(ask.number(Question("Port", "--port", ("mqtt", "port"), default=proposed), given=given.port))
        broker = BrokerAnswers(host, None if port == usual_port else port)
        if tls:
            path: KeyPath = ("mqtt", "tls", "ca_file")
            question = Question("CA file of the broker", "--ca-file", path, default="", if_empty="the system's CAs")
            ca_file = ask.text(question, given=given.ca_file, proposal=previous.ca_file)
            broker = replace(
                broker, tls=True, ca_file=ca_file, cert_file=previous.cert_file, key_file=previous.key_file
            )
        question = Question("User name", "--username", ("mqtt", "username"), default="")
        username = ask.text(question, given=given.username, proposal=previous.username)
        return self._with_password(replace(broker, username=username), given)

    def _with_password(self, broker: BrokerAnswers, given: GivenAnswers) -> BrokerAnswers:
        """Return the answers with the password, or the file that contains it, if there is a user name."""
        password = None
        if given.password_stdin:  # read even if it is not needed, because the next line is another secret
            password = self._secrets.next_line("--password-stdin", _PASSWORD, "the password")
        if not broker.username and not self._is_in_environment("mqtt", "username"):
            if (given.password_file is not None or given.password_stdin) and not self.prompter.is_interactive:
                raise click.UsageError("--password-file and --password-stdin need --username.")
            return broker
        if self._is_in_environment(*_PASSWORD):
            return broker
        if given.password_file is not None:
            return replace(broker, password_file=given.password_file)
        if password is None:
            missing = "The password is missing: add --password-file or --password-stdin."
            password = self.prompter.hidden("Password", _PASSWORD, missing, may_be_empty=True)
        return replace(broker, password=password)

    # A station

    def station(self, number: int, fields: Mapping[str, str], previous: StationAnswers | None = None) -> StationAnswers:
        """Return the answers about a station, without its token.

        Args:
            number: Index of the station, from 0.
            fields: The fields of the option `--station`; empty: prompt for them.
            previous: The answers that prompts propose.
        """

        def text(key: str, question: str, default: str | None = None, proposal: str | None = None) -> str:
            return self.prompter.text(
                Question(question, f"--station (number {number + 1}): {key}", ("stations", EACH, key), default),
                given=fields.get(key, default) if fields else None,
                proposal=getattr(previous, key, proposal),
            )

        edge_device_id = text("edge_device_id", "Edge device ID")
        uuid = text("uuid", "Station UUID")
        name = text("name", "Display name", default="")
        alias = text("alias", ALIAS_QUESTION, default="", proposal=suggest_alias(name))
        aliases, names = (_of_plugs(fields, key) or getattr(previous, key, {}) for key in PLUG_KEYS)
        return StationAnswers(edge_device_id, uuid, name=name, alias=alias, plugs=aliases, plug_names=names)

    def has_token(self, number: int, fields: Mapping[str, str]) -> bool:
        """Return whether a token is given, so that it need not be prompted for. The arguments are those of `token`."""
        is_given = bool(fields.get("token_file")) or (bool(fields) and self._given.token_stdin)
        return is_given or self._is_in_environment("stations", number, "token")

    def token(self, station: StationAnswers, number: int, fields: Mapping[str, str]) -> StationAnswers:
        """Return a station with its token, or with the file that contains it.

        Args:
            station: The station.
            number: Index of the station, from 0.
            fields: The fields of the option `--station`; empty: prompt for the token.
        """
        file, token = fields.get("token_file"), None
        if fields and not file and self._given.token_stdin:  # read even if it is not needed, like the password
            token = self._secrets.next_line("--token-stdin", _TOKEN, f"the token of {station.uuid}")
        if self._is_in_environment("stations", number, "token"):
            return station
        if file:
            return replace(station, token_file=file)
        if token is None:
            missing = f"The token of {station.uuid} is missing: add token_file=FILE to --station, or --token-stdin."
            token = self.prompter.hidden("Token", _TOKEN, missing)
        return replace(station, token=token)

    def plugs(self, station: StationAnswers, plugs: Sequence[PlugReading]) -> StationAnswers:
        """Return a station with the aliases and names of its plugs."""
        aliases, names = ask_plugs(self.prompter, plugs, station.plugs, station.plug_names)
        return replace(station, plugs=aliases, plug_names=names)

    # The rest

    def interval(self, *, again: bool) -> float:
        """Return the polling interval in seconds; `again`: prompt for it even if it was given as an option."""
        path: KeyPath = ("polling", "interval")
        question = Question("Poll interval in seconds", "--interval", path, default=Polling().interval)
        return self.prompter.number(question, given=None if again else self._given.interval)

    def homeassistant(self) -> bool:
        """Return whether to publish discovery."""
        question = "Publish discovery for Home Assistant?"
        return self.prompter.yes(question, given=self._given.homeassistant, default=HomeAssistant().enabled)

    def _is_in_environment(self, *path: str | int) -> bool:
        """Return whether the environment sets a secret or its file."""
        names = {variable_name(path), variable_name((*path[:-1], f"{path[-1]}_file"))}
        return not names.isdisjoint(name.upper() for name in self._environ)


def _of_plugs(fields: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the values of the fields `key.UUID`, by uuid."""
    return {uuid: value for name, value in fields.items() for start, _, uuid in [name.partition(".")] if start == key}
