"""`topics`: what the bridge publishes, for people, scripts, tag lists and tools."""

import asyncio
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.availability import MAX_PLUGS, with_topics
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.mqtt.one_shot import one_shot
from evse_mqtt_bridge.publishing.asyncapi import Broker, document
from evse_mqtt_bridge.publishing.catalogue import Inventory, Row, catalogue
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, Kind
from evse_mqtt_bridge.publishing.manifest import read_station
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["topics"]

_CSV_COLUMNS = ("topic", "type", "unit", "description", "quality_topic", "time_topic", "device")
_TYPE_WIDTH = max(len(kind) for kind in Kind)

Plugs = Mapping[str, tuple[str, ...]]
"""Plug uuids by station uuid."""


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a tag list for SCADA and BMS: the topics with plain values.")
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="Print an AsyncAPI 3 document with payload schemas.")
@click.option("--online", is_flag=True, help="Ask the broker, and else the API, which plugs there are.")
def topics(config: Path | None, *, as_json: bool, as_csv: bool, as_asyncapi: bool, online: bool) -> None:
    """List every topic that the bridge publishes with this configuration.

    A configuration knows the plugs that have an alias, and no others: a station without any stands with `{plug}`. With
    --online the bridge that runs with this configuration is asked, by what it keeps on the broker; where none runs, or
    it has not seen a station's plugs yet, the API is asked.

    \b
    Examples:
      evse-mqtt-bridge topics
      evse-mqtt-bridge topics --online --csv > tags.csv
      evse-mqtt-bridge topics --online --asyncapi > asyncapi.json
      evse-mqtt-bridge topics --json | jq -r '.topics[].topic'

    Exit codes: 0 done, 69 with --online: the plugs of a station could not be learned (the list is printed without
    them), 78 the configuration is wrong.
    """
    if as_json + as_csv + as_asyncapi > 1:
        raise click.UsageError("--json, --csv and --asyncapi exclude each other.")
    loaded = load_config(config).config
    plan = publishing_plan(loaded)
    plugs, trouble = asyncio.run(_learn(loaded, plan)) if online and plan.stations else ({}, [])
    stations = tuple(plan.stations.values())
    inventory = Inventory(plan.topics, plan.client_id, loaded.mqtt.qos, stations, plan.place, plugs)
    rows = list(catalogue(inventory))
    if as_asyncapi:
        click.echo(json.dumps(document(inventory, _broker(loaded.mqtt)), indent=2, ensure_ascii=False))
    elif as_json:
        content = {"contract": CONTRACT_VERSION, "topics": [_as_json(row) for row in rows]}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif as_csv:
        click.echo(_as_csv(rows), nl=False)
    else:
        click.echo(_as_text(rows), nl=False)
    for line in trouble:
        click.echo(line, err=True)
    if trouble:
        raise UnavailableError("not every station's plugs are known: see above")
    if stations and not online:
        click.echo("plugs are known by their aliases alone; --online asks for all of them", err=True)


def _as_text(rows: Sequence[Row]) -> str:
    """One line a topic, for eyes and for grep."""
    # the topics of discovery are much longer than the rest, and stand out of the column
    width = max(len(row.topic) for row in rows if not row.channel.startswith("discovery."))
    return "".join(
        f"{row.topic:<{width}}  {row.kind:<{_TYPE_WIDTH}} {row.unit:<2} {_plain(row.description)}\n" for row in rows
    )


def _as_json(row: Row) -> dict[str, object]:
    content = asdict(row)
    names = {"kind": "type", "quality": "quality_topic", "time": "time_topic"}
    return {names.get(name, name): value for name, value in content.items()}


def _as_csv(rows: Iterable[Row]) -> str:
    """A tag a line; JSON is no value of a tag."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        if row.kind is not Kind.JSON:
            content = _as_json(row) | {"description": _plain(row.description)}
            writer.writerow([content[column] for column in _CSV_COLUMNS])
    return text.getvalue()


def _plain(description: str) -> str:
    """A description without its Markdown."""
    return description.replace("`", "")


def _broker(settings: Mqtt) -> Broker:
    return Broker(
        host=settings.host,
        port=settings.effective_port,
        protocol=settings.protocol,
        keepalive=settings.keepalive,
        tls=settings.tls is not None,
        login=bool(settings.username),
        certificate=settings.tls is not None and bool(settings.tls.cert_file),
    )


async def _learn(config: Config, plan: Plan) -> tuple[Plugs, list[str]]:
    """The plugs of each station, and a line for each of which they could not be learned.

    A running bridge knows best: what it keeps on the broker is what it publishes, missing plugs included, and asking
    for it is no load on the cloud.
    """
    broker_trouble = []
    try:
        known = await _ask_broker(config.mqtt, plan)
    except UnavailableError as error:
        known, broker_trouble = {}, [str(error)]
    asked = [station for station in config.stations if station.uuid not in known]
    if not asked:
        return known, []
    trouble = []
    for station, answer in zip(asked, await poll_once(config.cloud, asked), strict=True):
        outcome = with_topics(answer, plan.stations[station.uuid])
        if isinstance(outcome, Failure):
            title = clean(station.name or station.alias or station.uuid)
            trouble.append(f"{title}: {outcome.reason}: {outcome.detail}")
        else:
            known[station.uuid] = tuple(plug.plug_uuid for plug in outcome.plugs[:MAX_PLUGS])
    return known, [*broker_trouble, *trouble] if trouble else []


async def _ask_broker(settings: Mqtt, plan: Plan) -> dict[str, tuple[str, ...]]:
    """What the `info` of the stations says, while the bridge is online."""
    wanted = [plan.topics.availability, plan.topics.ledger_filter]
    async with one_shot(settings, "topics") as guest:
        retained = await guest.retained(wanted)
    if retained.get(plan.topics.availability) != b"online":
        return {}
    entries = (read_station(plan.topics, *item, plan.client_id) for item in retained.items())
    return {
        entry.uuid: tuple(entry.plugs)
        for entry in entries
        if entry is not None and entry.plugs and entry.uuid in plan.stations
    }
