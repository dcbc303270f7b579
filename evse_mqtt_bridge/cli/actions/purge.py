"""Finds the retained topics of a bridge that are no longer configured, and clears them on confirmation."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_argument, load_config
from evse_mqtt_bridge.config.plan import ownership
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.mqtt.one_shot import OneShotClient, one_shot_client
from evse_mqtt_bridge.publishing.message import clear
from evse_mqtt_bridge.publishing.orphans import Ownership, left_behind, online_topic, orphans, orphans_elsewhere
from evse_mqtt_bridge.publishing.other_bridges import OtherBridges
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["purge_topics"]


def purge_topics(config: Path | None, *, everything: bool, confirmed: bool) -> None:
    """Print the topics that can be cleared; if `confirmed`, clear them.

    Args:
        config: The configuration file, as named on the command line.
        everything: Whether to include the topics of configured stations.
        confirmed: Whether to clear the topics.

    Raises:
        click.exceptions.Exit: The bridge is online (code 1).
        UnavailableError: The broker does not answer, or does not allow this user to clear a topic.
        ConfigError: The configuration is invalid.
    """
    loaded = load_config(config)
    result = asyncio.run(_purge(loaded.config, everything=everything, confirmed=confirmed))
    if everything and confirmed and result.online_topic:
        _report_online(result.online_topic)
    for topic in result.topics:
        click.echo(topic)
    for base, number in result.unproven.items():
        click.echo(_unproven_note(base, number), err=True)
    count, refused = len(result.topics), result.refused
    if not count:
        click.echo("nothing to clear", err=True)
    elif not confirmed:
        command = f"evse-mqtt-bridge purge{' --all' if everything else ''} --yes{config_argument(loaded.path)}"
        click.echo(f"{count} topic{'' if count == 1 else 's'} can be cleared; to clear, run: {command}", err=True)
    else:
        click.echo(f"cleared: {count - len(refused)}", err=True)
    if refused:
        example = f"{len(refused)} topic{'' if len(refused) == 1 else 's'}, such as {refused[0]}"
        raise UnavailableError(f"the broker does not allow this user to clear {example}")


def _unproven_note(base: str, number: int) -> str:
    topics = f"{number} topic{'' if number == 1 else 's'}"
    return (
        f"{topics} below {base}/: only {base}/bridge/info names this bridge, which anybody who may publish there can"
        " write. If this bridge never had this base topic, find out who published it."
    )


def _report_online(topic: str) -> None:
    advice = f"if it is not running, publish its state with: mosquitto_pub -r -t {topic} -m offline"
    click.echo(f"the bridge is online, so nothing was cleared; stop it first ({advice})", err=True)
    raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True)
class _Result:
    """The result of a purge.

    Attributes:
        topics: The topics that can be cleared, or were cleared.
        refused: The topics among them whose clearing the broker rejected.
        online_topic: The availability topic of the bridge if it is `online`, else empty.
        unproven: The base topics that only an `info` below them names, with the number of topics to clear.
    """

    topics: list[str]
    refused: list[str]
    online_topic: str
    unproven: dict[str, int]


async def _purge(config: Config, *, everything: bool, confirmed: bool) -> _Result:
    owned = ownership(config)
    async with one_shot_client(config.mqtt, "purge") as client:
        retained = await client.retained(owned.filters)
        found = orphans(retained, owned, everything=everything)
        online = online_topic(retained, owned)
        is_allowed = confirmed and not (everything and online)
        topics = [topic for topic in found if topic.startswith(f"{owned.topics.base}/")]
        if topics and is_allowed:
            await client.publish(clear(topics))
        # Last, because some brokers end the connection of a user that may not read elsewhere.
        retained = await client.retained(Topics.bridge_info_filters(), is_optional=True)
        claimed = await _claimed_topics(client, retained, owned)
        more = [topic for topic in found if topic not in claimed and topic not in topics]
        unproven: dict[str, int] = {}
        for other in left_behind(retained, owned):
            retained = await client.retained(other.filters, is_optional=True)
            if not online_topic(retained, other):
                elsewhere = orphans_elsewhere(retained, other, owned)
                more += elsewhere
                if elsewhere and not other.is_proven:
                    unproven[other.topics.base] = len(elsewhere)
        more = sorted(set(more).difference(topics, claimed))
        if more and is_allowed and client.is_connected:
            await client.publish(clear(more))
        is_cleared = not more or not is_allowed or client.is_connected
        refused = set(client.rejected)
    if not is_cleared:
        async with one_shot_client(config.mqtt, "purge") as client:
            await client.publish(clear(more))
            refused.update(client.rejected)
    return _Result(sorted({*topics, *more}), sorted(refused), online, unproven)


async def _claimed_topics(client: OneShotClient, retained: Mapping[str, bytes], owned: Ownership) -> frozenset[str]:
    """Return the topics that other live bridges claim, as far as this user may read their manifests."""
    others = OtherBridges(None, {owned.client_id}, lambda _: True)
    for item in retained.items():
        others.received(*item)
    filters = [each for base in others.pop_unread() for each in (base.availability, base.manifest_filter)]
    if filters:
        for item in (await client.retained(filters, is_optional=True)).items():
            others.received(*item)
    return others.all_claimed_topics()
