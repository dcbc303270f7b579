"""The command `sessions`: lists charging sessions from the history."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.history_options import history_options, output_format
from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["sessions"]


@click.command()
@config_option
@history_options
def sessions(  # noqa: PLR0913  # one argument per option
    *, config: Path | None, since: str | None, until: str | None, station: str | None, as_csv: bool, as_json: bool
) -> None:
    """List charging sessions that ended, the latest first.

    A session begins when a vehicle is plugged in, and ends when it is unplugged. Then the bridge stores it in the
    database of [history]. Without --since, the command lists the sessions of the last 30 days. Times are in the time
    zone history.time_zone. STATION is a name, uuid or alias.

    \b
    Examples:
      evse-mqtt-bridge sessions
      evse-mqtt-bridge sessions --since 2026-03 --until 2026-04 --csv > march.csv
      evse-mqtt-bridge sessions --station north --json | jq '[.[].energy] | add'

    Exit codes: 0 success; 2 no such station, or not a time; 69 the history cannot be read; 78 the configuration is
    invalid.
    """
    output = output_format(as_csv=as_csv, as_json=as_json)
    from evse_mqtt_bridge.cli.actions.history import list_sessions  # noqa: PLC0415  # imported when the command runs

    list_sessions(config, since=since, until=until, station=station, output=output)
