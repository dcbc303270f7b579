"""Makes a running bridge read its configuration again: sends SIGHUP, and waits for the outcome."""

import signal
import time
from pathlib import Path

import click
import httpx

from evse_mqtt_bridge.cli.common.status_client import bridge_address, running_bridge_address
from evse_mqtt_bridge.observability.process_snapshot import ProcessSnapshot, ReloadOutcome, from_json
from evse_mqtt_bridge.support.errors import BridgeError, ConfigError, Problem, ReloadError, UnavailableError
from evse_mqtt_bridge.support.processes import send_signal

__all__ = ["reload_bridge"]

_ADVICE = "; is the bridge running with http.enabled, and is the address right (--url)?"

_TIMEOUT = 60.0
"""Seconds to wait for the outcome. The bridge itself gives up reading files after 30 s."""

_REQUEST_TIMEOUT = 5.0
"""Seconds to wait for a response."""

_PAUSE = 0.1
"""Seconds between two requests."""


def reload_bridge(config: Path | None, url: str | None) -> None:
    """Reload the bridge at the address of a configuration, and print the outcome.

    Args:
        config: The configuration file, as named on the command line.
        url: Address of the bridge, as named on the command line.

    Raises:
        ReloadError: The bridge cannot be signalled from here.
        UnavailableError: No bridge answers, or it does not complete the reload.
        ConfigError: The bridge rejected the configuration.
    """
    address = running_bridge_address(config, url)
    before = _fetch(address)
    if not before.identity:
        raise ReloadError("this needs Linux; send SIGHUP to the bridge yourself")
    try:
        is_sent = send_signal(before.pid, before.identity, signal.SIGHUP)
    except PermissionError:
        raise ReloadError(
            f"this user may not send signals to the bridge (PID {before.pid}); run the command as root or as its user"
        ) from None
    if not is_sent:
        raise ReloadError(
            f"the bridge at {address} is in another container; run the command there, for example with `docker exec`"
        )
    outcome = _wait_for_outcome(config, address, before)
    if outcome.problems:
        raise ConfigError(*(Problem(problem) for problem in outcome.problems))
    click.echo(
        f"reloaded {before.client_id}: {outcome.stations} stations, {outcome.added} added, {outcome.removed} removed, "
        f"{outcome.changed} changed"
    )


def _wait_for_outcome(config: Path | None, address: str, before: ProcessSnapshot) -> ReloadOutcome:
    """Return the outcome of a reload that started after `before`, because an earlier one may have read the old file.

    Raises:
        UnavailableError: There is none in time, or the bridge ended.
    """
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        for page in (address, _new_address(config)):
            try:
                now = _fetch(page) if page else None
            except UnavailableError:  # the reload may have moved the status page
                continue
            if now and now.identity == before.identity and now.outcome and now.outcome.number > before.reloads_started:
                return now.outcome
        time.sleep(_PAUSE)
    raise UnavailableError(f"the bridge has not completed the reload within {_TIMEOUT:g} s; see its log")


def _new_address(config: Path | None) -> str | None:
    """Return the address in the configuration as it is now."""
    try:
        return bridge_address(config, None)
    except BridgeError:
        return None


def _fetch(address: str) -> ProcessSnapshot:
    try:
        response = httpx.get(f"{address}/api/process", timeout=_REQUEST_TIMEOUT, trust_env=False)
        if response.status_code == httpx.codes.FORBIDDEN:
            raise ReloadError(f"{address}: the bridge runs on another machine or in a container; run the command there")
        return from_json(response.content)
    except httpx.HTTPError:
        raise UnavailableError(f"{address}: no bridge answers{_ADVICE}") from None
    except ValueError:
        raise UnavailableError(f"{address}: another program, or a bridge before version 0.2, answers") from None
