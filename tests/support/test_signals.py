"""Signals at every moment of the life of the process: it neither dies of them nor forgets them."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.configuration import config_tables, write_config

Environment = Callable[[signal.Signals, str], dict[str, str]]

_SENDS_SIGNAL_TO_ITSELF = """
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ.get("SIGNAL_AT"):
            os.environ.pop("SIGNAL_AT")
            os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))

sys.meta_path.insert(0, Finder)
if os.environ.get("SIGNAL_AT") == "exit":
    import atexit
    atexit.register(lambda: os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"])))
"""

_MOMENTS = (
    "click",
    "pydantic",
    "evse_mqtt_bridge.config.load",
    "evse_mqtt_bridge.service.supervisor",
    "evse_mqtt_bridge.cloud.transport.libcurl",  # the event loop runs
)
"""The process receives the signal when it imports one of these modules."""


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> Path:
    """A configuration with a station that does not answer."""
    return write_config(tmp_path / "config.toml", config_tables(broker, cloud))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A function that returns the environment of a process which sends a signal to itself at a moment."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SENDS_SIGNAL_TO_ITSELF)

    def environment(number: signal.Signals, moment: str) -> dict[str, str]:
        path = f"{site}:{Path(__file__).parents[2]}"
        return {"PYTHONPATH": path, "SIGNAL": number.name, "SIGNAL_AT": moment}

    return environment


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_at_any_moment_of_the_start_exits_with_0(
    config: Path, environment: Environment, number: signal.Signals
) -> None:
    with ExitStack() as stack:
        bridges = {
            moment: stack.enter_context(BridgeProcess.run(config, env=environment(number, moment)))
            for moment in _MOMENTS
        }
        ends = {moment: (bridge.wait(), "Traceback" in bridge.stderr_text) for moment, bridge in bridges.items()}
    assert ends == dict.fromkeys(_MOMENTS, (0, False))


@pytest.mark.parametrize("moment", _MOMENTS[::2])
def test_reload_during_the_start_is_done_after_it(
    config: Path, environment: Environment, observer: Observer, moment: str
) -> None:
    with BridgeProcess.run(config, env=environment(signal.SIGHUP, moment)) as bridge:
        bridge.wait_for_line("configuration reloaded")
        observer.wait_for("evse/bridge/availability", "online")
        bridge.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_at_the_exit_keeps_the_exit_code(config: Path, environment: Environment, number: signal.Signals) -> None:
    with BridgeProcess.run(config, env=environment(number, "exit")) as bridge:
        bridge.wait_for_line("evse-mqtt-bridge started")
        bridge.stop()


def test_other_command_ends_by_sigterm(config: Path, environment: Environment) -> None:
    with BridgeProcess("check", "--config", config, env=environment(signal.SIGTERM, "click")) as command:
        command.assert_exit(-signal.SIGTERM)
