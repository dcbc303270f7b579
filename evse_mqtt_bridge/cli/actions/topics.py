"""Lists the topics of a configuration in four formats, with the plugs known to the broker or the cloud."""

import asyncio
import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.columns import output_width
from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.topic_list import plain_text, topic_lines
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS, drop_plugs_without_topic
from evse_mqtt_bridge.domain.shards import shard_of
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.publishing.asyncapi import Broker, document
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, Kind, TopicRow
from evse_mqtt_bridge.publishing.manifest_payloads import read_station
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["CSV_COLUMNS", "list_topics"]

CSV_COLUMNS = ("topic", "type", "unit", "description", "quality_topic", "time_topic", "device")
"""Columns of the tag list."""

Plugs = Mapping[str, tuple[str, ...]]
"""Plug uuids by station uuid."""


def list_topics(config: Path | None, *, output: str, online: bool, with_discovery: bool) -> None:
    """Print the topics.

    Args:
        config: The configuration file, as named on the command line.
        output: "text", "json", "csv" or "asyncapi".
        online: Whether to also get the plugs from the broker or the cloud.
        with_discovery: Whether the text contains the topics of discovery; the other formats always do.

    Raises:
        UnavailableError: The plugs of a station are unknown; the list was printed without them.
        ConfigError: The configuration is invalid.
    """
    loaded = load_config(config).config
    plan = publishing_plan(loaded)
    plugs, errors = asyncio.run(_find_plugs(loaded, plan)) if online and plan.stations else ({}, [])
    stations = tuple(plan.stations.values())
    shards = loaded.fleet.shards if loaded.fleet else 0
    inventory = Inventory(plan.topics, plan.client_id, loaded.mqtt.qos, stations, plan.locations, plugs, shards)
    click.echo(_render(inventory, loaded.mqtt, output, with_discovery=with_discovery), nl=False)
    for error in errors:
        click.echo(error, err=True)
    if errors:
        raise UnavailableError("the plugs of some stations are unknown; see above")
    if output == "text" and not with_discovery and any(map(_is_discovery, catalogue(inventory))):
        click.echo("the topics for Home Assistant are not listed; --discovery lists them", err=True)
    if stations and not online:
        click.echo("only plugs that have an alias are listed; --online lists all plugs", err=True)


def _is_discovery(row: TopicRow) -> bool:
    return row.channel.startswith("discovery.")


def _render(inventory: Inventory, settings: Mqtt, output: str, *, with_discovery: bool) -> str:
    match output:
        case "asyncapi":
            return _json(document(inventory, _broker(settings)))
        case "json":
            return _json({"contract": CONTRACT_VERSION, "topics": [_as_json(row) for row in catalogue(inventory)]})
        case "csv":
            return _as_csv(catalogue(inventory))
        case _:
            rows = [row for row in catalogue(inventory) if with_discovery or not _is_discovery(row)]
            return "".join(f"{line}\n" for line in topic_lines(rows, output_width()))


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_json(row: TopicRow) -> dict[str, object]:
    content = asdict(row)
    names = {"kind": "type", "quality": "quality_topic", "time": "time_topic"}
    return {names.get(name, name): value for name, value in content.items()}


def _as_csv(rows: Iterable[TopicRow]) -> str:
    """Return one line per tag, without topics whose payload is JSON, which no tag can contain."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        if row.kind is not Kind.JSON:
            content = _as_json(row) | {"description": plain_text(row.description)}
            writer.writerow([content[column] for column in CSV_COLUMNS])
    return text.getvalue()


def _broker(settings: Mqtt) -> Broker:
    return Broker(
        host=settings.host,
        port=settings.effective_port,
        protocol="3.1.1" if settings.protocol == "3.1.1" else "5",
        keepalive=settings.keepalive,
        tls=settings.tls is not None,
        login=bool(settings.username),
        certificate=settings.tls is not None and bool(settings.tls.cert_file),
    )


async def _find_plugs(config: Config, plan: Plan) -> tuple[Plugs, list[str]]:
    """Return the plugs of each station, and an error for each station whose plugs are unknown.

    The broker comes first: the manifest entries of a running bridge list all published plugs, including those that are
    missing in the cloud's responses, and reading them puts no load on the cloud.
    """
    broker_errors = []
    try:
        plugs = await _plugs_from_broker(config, plan)
    except UnavailableError as error:
        plugs, broker_errors = {}, [str(error)]
    unknown = [station for station in config.stations if station.uuid not in plugs]
    if not unknown:
        return plugs, []
    errors = []
    for settings, answer in zip(unknown, await poll_once(config.cloud, unknown), strict=True):
        station = plan.stations[settings.uuid]
        outcome = drop_plugs_without_topic(answer, station)
        if isinstance(outcome, Failure):
            errors.append(f"{clean(station.title)}: {outcome.reason}: {outcome.detail}")
        else:
            plugs[station.uuid] = tuple(plug.plug_uuid for plug in outcome.plugs[:MAX_PLUGS])
    return plugs, [*broker_errors, *errors] if errors else []


async def _plugs_from_broker(config: Config, plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the plugs in the manifest entries of the bridge, except those of shards that are not online."""
    shards = config.fleet.shards if config.fleet else 1
    availability = {shard: plan.topics.of_shard(shard).availability for shard in range(shards)}
    async with one_shot_client(config.mqtt, "topics") as client:
        retained = await client.retained([*availability.values(), plan.topics.manifest_filter])
    online = {shard for shard, topic in availability.items() if retained.get(topic) == b"online"}
    read = (read_station(plan.topics, *item, {plan.client_id}) for item in retained.items())
    return {
        entries[0].uuid: tuple(entries[0].plugs)
        for entries in read
        if entries
        and entries[0].plugs
        and entries[0].uuid in plan.stations
        and shard_of(entries[0].uuid, shards) in online
    }
