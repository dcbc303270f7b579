"""Shows a fleet as its engine has it, and drains members."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.tables import print_table
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.fleet.engines import create_engine
from evse_mqtt_bridge.fleet.port import (
    EngineAdministration,
    EngineRefusedError,
    EngineUnavailableError,
    MemberRecord,
    View,
)
from evse_mqtt_bridge.observability.fleet_snapshot import member_snapshots, shard_ranges
from evse_mqtt_bridge.support.errors import FleetError, UnavailableError

__all__ = ["drain_member", "fleet_line", "free_shards", "observe", "show_fleet"]

_PAUSE = 0.5
"""Seconds between two questions to the engine."""


def show_fleet(config: Path | None, *, as_json: bool) -> bool:
    """Print the fleet, and return whether a member holds each shard.

    Raises:
        ConfigError: The configuration is invalid.
        UnavailableError: The engine does not answer.
        click.UsageError: The configuration has no engine.
    """
    loaded = load_config(config).config
    view = asyncio.run(observe(loaded))
    free = free_shards(view, _shards(loaded))
    click.echo(json.dumps(_as_json(view, free), indent=2)) if as_json else _print(loaded, view, free)
    return not free


async def observe(config: Config) -> View:
    """Return what the engine of a configuration has.

    Raises:
        UnavailableError: The engine does not answer.
        click.UsageError: The configuration has no engine.
    """
    async with _engine(config) as engine:
        return await engine.observe()


def drain_member(config: Path | None, member: str | None, *, is_on: bool, timeout: float) -> None:
    """Ask a member to hand over its shards, and wait until it has none; or withdraw that.

    Args:
        config: The configuration file, as named on the command line.
        member: The name of the member; `None`: the one that the configuration names.
        is_on: Whether to drain it.
        timeout: Maximum time to wait, in seconds.

    Raises:
        FleetError: There is no such member, or it still holds shards.
        UnavailableError: The engine does not answer.
        click.UsageError: The configuration has no engine.
    """
    loaded = load_config(config).config
    name = member or (loaded.fleet.member_name if loaded.fleet else "")
    asyncio.run(_drain(loaded, name, is_on=is_on, timeout=timeout))


async def _drain(config: Config, name: str, *, is_on: bool, timeout: float) -> None:  # noqa: ASYNC109  # of the command
    async with _engine(config) as engine:
        view = await engine.observe()
        if is_on and not any(_can_run_more(each, view) for each in view.members.values() if each.name != name):
            raise FleetError(f"there is no other member that can run the shards of {name}")
        if not await engine.drain(name, is_on=is_on):
            raise FleetError(f"there is no member {name}; alive are {', '.join(sorted(view.members)) or 'none'}")
        if not is_on:
            click.echo(f"{name} may have shards again")
            return
        deadline = time.monotonic() + timeout
        while held := _held(await engine.observe(), name):
            if time.monotonic() > deadline:
                advice = f"see its log; the request stays until `fleet drain {name} --undo`"
                raise FleetError(f"{name} still holds {_count(held, 'shard')} after {timeout:g} s; {advice}")
            await asyncio.sleep(_PAUSE)
        click.echo(f"{name} holds no shard, and gets none until it restarts, or until `fleet drain {name} --undo`")


def _can_run_more(member: MemberRecord, view: View) -> bool:
    return member.is_fit and not member.is_draining and member.name not in view.drains


@asynccontextmanager
async def _engine(config: Config) -> AsyncIterator[EngineAdministration]:
    engine = create_engine(config)
    if engine is None:
        raise click.UsageError('requires [fleet] with engine "etcd" or "kubernetes"; other bridges have no engine')
    try:
        yield engine
    except (EngineUnavailableError, EngineRefusedError) as error:
        raise UnavailableError(str(error)) from None
    finally:
        await engine.aclose()


def fleet_line(view: View, shards: int) -> str:
    """Return one line about a fleet."""
    held = shards - len(free_shards(view, shards))
    return f"{_count(len(view.members), 'member')}, {held} of {_count(shards, 'shard')} held"


def free_shards(view: View, shards: int) -> list[int]:
    """Return the shards that no member holds."""
    return [number for number in range(shards) if number not in view.holders]


def _held(view: View, member: str) -> int:
    """Return the number of shards that a member holds."""
    return sum(holder.member == member for holder in view.holders.values())


def _shards(config: Config) -> int:
    return config.fleet.shards if config.fleet else 1


def _print(config: Config, view: View, free: list[int]) -> None:
    click.echo(f"{fleet_line(view, _shards(config))}; engine {view.engine_id or 'unknown'}")
    rows = [
        (each.name, each.state, len(each.shards), shard_ranges(each.shards), each.version, each.page)
        for each in member_snapshots(view)
    ]
    if rows:
        click.echo()
        print_table(("MEMBER", "STATE", "SHARDS", "NUMBERS", "VERSION", "PAGE"), rows)
    for warning in _warnings(config, view, free):
        click.secho(f"warning: {warning}", fg="yellow", err=True)


def _warnings(config: Config, view: View, free: list[int]) -> Iterable[str]:
    if free:
        yield f"no member holds {shard_ranges(free)}"
    if any(member.shards != _shards(config) for member in view.members.values()):
        yield "members have different numbers of shards; stop all, and start them with the same fleet.shards"
    elif len({member.digest for member in view.members.values()}) > 1:
        yield "members have different configurations; give all the same, and reload them"
    if view.cloud_pause:
        yield f"the cloud requested a pause of all requests, which ends in {view.cloud_pause:.0f} s"


def _as_json(view: View, free: list[int]) -> object:
    return {
        "engine": view.engine_id,
        "free": free,
        "pause": round(view.cloud_pause, 1),
        "members": [{**asdict(each), "digest": view.members[each.name].digest} for each in member_snapshots(view)],
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
