"""The command `init`: writes the first configuration from answers that are tested as they are given."""

import csv
from collections.abc import Sequence
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.given_answers import PLUG_KEYS
from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["init"]

_STATION_KEYS = ("edge_device_id", "uuid", "token_file", "name", "alias")


def _parse_stations(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[dict[str, str]]:
    """Return the fields of each `--station key=value,key=value`.

    A value is read as CSV: a part that contains a comma is written in double quotes, together with its key.
    """
    return [_parse_station(value) for value in values]


def _parse_station(value: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    try:
        parts = next(csv.reader([value]), [])
    except csv.Error:
        raise click.BadParameter("expected key=value,key=value on one line") from None
    for part in parts:
        key, _, text = part.strip().partition("=")
        if key == "token":
            advice = "use token_file or --token-stdin"
            raise click.BadParameter(f"a token is a secret, and every user can see options; {advice}")
        table, _, uuid = key.partition(".")
        is_known = key in _STATION_KEYS or (table in PLUG_KEYS and uuid)
        if not is_known or key in fields:
            keys = ", ".join((*_STATION_KEYS, *(f"{table}.UUID" for table in PLUG_KEYS)))
            raise click.BadParameter(f"expected each of {keys} at most once, as key=value")
        fields[key] = text
    if missing := [key for key in ("edge_device_id", "uuid") if key not in fields]:
        raise click.BadParameter(f"{' and '.join(missing)}: missing")
    return fields


@click.command()
@config_option
@click.option("--force", is_flag=True, help="Replace an existing configuration; it is kept as FILE.bak.")
@click.option("--host", metavar="HOST", help="Name or address of the broker.")
@click.option("--port", metavar="PORT", type=int, help="Port of the broker.  [default: 1883, with TLS 8883]")
@click.option("--tls/--no-tls", default=None, help="Whether to connect with TLS.  [default: no]")
@click.option("--ca-file", metavar="FILE", help="CA of the broker's certificate.  [default: the system's CAs]")
@click.option("--cert-file", metavar="FILE", default="", help="Client certificate, if the broker requires one.")
@click.option("--key-file", metavar="FILE", default="", help="Key of the client certificate.")
@click.option("--username", metavar="NAME", help="User name on the broker.  [default: none]")
@click.option(
    "--password-file", metavar="FILE", help="File that contains the password. The configuration refers to it."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option("--cloud-url", metavar="URL", default="", help="Another address of the API, such as that of a simulator.")
@click.option("--cloud-ca-file", metavar="FILE", default="", help="CA to trust there, in addition to the system's CAs.")
@click.option(
    "--station",
    metavar="KEY=VALUE,...",
    callback=_parse_stations,
    multiple=True,
    help="A station: edge_device_id, uuid, and optionally token_file, name, alias, and plugs.UUID and "
    "plug_names.UUID for the alias and name of a plug. Repeat for more stations.",
)
@click.option("--no-stations", is_flag=True, help="Configure no station; add them later with `station add`.")
@click.option("--token-stdin", is_flag=True, help="Read a line of standard input per station without token_file.")
@click.option("--interval", metavar="SECONDS", type=float, help="Time between two polls of a station.  [default: 30]")
@click.option(
    "--homeassistant/--no-homeassistant",
    default=None,
    help="Whether Home Assistant discovers the stations.  [default: yes]",
)
@click.option("--no-input", is_flag=True, help="Ask no questions, even in a terminal.")
@click.option("--skip-tests", is_flag=True, help="Test neither the broker nor the stations.")
@click.option("--anyway", is_flag=True, help="Write the configuration even if a test fails.")
def init(config: Path | None, *, force: bool, **options: object) -> None:
    """Create the first configuration.

    The command asks for the broker, the stations, and names and aliases of their plugs, tests them, and writes the
    file.

    Options answer questions in advance. With --no-input, or without a terminal, missing answers take their default; a
    question without a default is an error. The file contains every setting with its explanation and is readable by its
    owner only. An existing file is never changed without --force. Nothing is written before the last answer.

    Secrets are never options, because other users can see options in the process list. They are read from files, which
    the configuration then refers to; from standard input (first the password, then the tokens); from the variables of
    the bridge itself (EVSE_MQTT_BRIDGE__MQTT__PASSWORD, EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN, ...), which stay in
    place; or from hidden prompts.

    \b
    Examples:
      evse-mqtt-bridge init
      evse-mqtt-bridge init --host broker.example.com --tls --username bridge
      evse-mqtt-bridge init --host 192.0.2.10 --username bridge \\
          --password-file mqtt.password \\
          --station edge_device_id=1234,uuid=25104c56,token_file=north.token
      pass show garage/north |
        evse-mqtt-bridge init --host 192.0.2.10 --token-stdin \\
          --station "edge_device_id=1234,uuid=25104c56,name=Garage north"
      evse-mqtt-bridge init --host 192.0.2.10 \\
          --station "edge_device_id=1234,uuid=25104c56,token_file=north.token,\\
      alias=north,plugs.6bbf9fd5=left,plug_names.6bbf9fd5=Left bay"

    Exit codes: 0 the file was written; 1 the API rejects a station, the file exists or cannot be written, or the user
    cancelled; 2 an answer is missing or invalid; 69 the broker or the API does not answer, or the broker rejects the
    login; 78 the answers do not make a valid configuration.
    """
    from evse_mqtt_bridge.cli.actions.init import create_config  # noqa: PLC0415  # imported when the command runs

    create_config(config, options, force=force)
