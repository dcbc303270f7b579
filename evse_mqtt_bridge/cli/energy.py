"""The command `energy`: sums up the energy of days, months or plugs from the history."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.history_options import history_options, output_format
from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["energy"]


@click.command()
@config_option
@click.option(
    "--by", type=click.Choice(["day", "month", "plug"]), default="day", show_default=True, help="What to sum up."
)
@history_options
def energy(  # noqa: PLR0913  # one argument per option
    *,
    config: Path | None,
    by: str,
    since: str | None,
    until: str | None,
    station: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Sum up the energy of days, months or plugs.

    The energy comes from the database of [history]. Without --since, the period begins 30 days ago, or with --by month,
    with the same month a year ago. Days and months begin at midnight in the time zone history.time_zone. GAP is the
    time for which the energy of a plug with a vehicle is unknown. STATION is a name, uuid or alias.

    \b
    Examples:
      evse-mqtt-bridge energy
      evse-mqtt-bridge energy --by month --station garage-north
      evse-mqtt-bridge energy --by plug --since 2026-03 --until 2026-04 --csv

    Exit codes: 0 success; 2 no such station, or not a time; 69 the history cannot be read; 78 the configuration is
    invalid.
    """
    output = output_format(as_csv=as_csv, as_json=as_json)
    from evse_mqtt_bridge.cli.actions.history import sum_energy  # noqa: PLC0415  # imported when the command runs

    sum_energy(config, by=by, since=since, until=until, station=station, output=output)
