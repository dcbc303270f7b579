"""The command `topics`: lists the topics that the bridge publishes, for people, scripts, tag lists and tools."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["topics"]


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a tag list for SCADA and BMS: topics with plain values.")
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="Print an AsyncAPI 3 document with payload schemas.")
@click.option("--discovery", is_flag=True, help="Also list the discovery topics for Home Assistant.")
@click.option("--online", is_flag=True, help="Get the plugs from the broker, or else from the API.")
def topics(  # noqa: PLR0913  # one argument per option
    config: Path | None, *, as_json: bool, as_csv: bool, as_asyncapi: bool, discovery: bool, online: bool
) -> None:
    """List the topics that the bridge publishes.

    The list covers the topics of this configuration. In a narrow terminal, topics are grouped by their prefix; a pipe
    gets one line per topic. --json and --asyncapi always contain the discovery topics, --csv never does.

    The configuration contains only plugs that have an alias; a station without such a plug is listed with `{plug}`.
    With --online, the command reads the plugs from the retained topics of a running bridge. If no bridge with this
    configuration is online, or it has not polled a station yet, the command polls the API.

    \b
    Examples:
      evse-mqtt-bridge topics
      evse-mqtt-bridge topics --online --csv > tags.csv
      evse-mqtt-bridge topics --online --asyncapi > asyncapi.json
      evse-mqtt-bridge topics --json | jq -r '.topics[].topic'

    Exit codes: 0 success, 69 with --online: the plugs of a station are unknown (the list is printed without them), 78
    the configuration is invalid.
    """
    if discovery and (as_json or as_csv or as_asyncapi):
        raise click.UsageError(
            "--discovery is for the text: --json and --asyncapi contain discovery, and --csv does not."
        )
    formats = [name for name, chosen in (("json", as_json), ("csv", as_csv), ("asyncapi", as_asyncapi)) if chosen]
    if len(formats) > 1:
        raise click.UsageError("--json, --csv and --asyncapi exclude each other.")

    from evse_mqtt_bridge.cli.actions.topics import list_topics  # noqa: PLC0415  # imported when the command runs

    list_topics(config, output=formats[0] if formats else "text", online=online, with_discovery=discovery)
