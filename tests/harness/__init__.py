"""Test tools: a Mosquitto process, an observer of its topics, a scripted cloud, the bridge as a process."""

from tests.harness.bridge import BridgeProcess, invoke_command, run_command
from tests.harness.certificates import Authority, Certificate
from tests.harness.clock import Clock
from tests.harness.cloud import Answer, CloudServer, Request, plug_object, status_example
from tests.harness.configuration import config_tables, station_table, write_config
from tests.harness.mosquitto import Mosquitto
from tests.harness.net import free_port
from tests.harness.observer import Observer, ReceivedMessage, retained_messages

__all__ = [
    "Answer",
    "Authority",
    "BridgeProcess",
    "Certificate",
    "Clock",
    "CloudServer",
    "Mosquitto",
    "Observer",
    "ReceivedMessage",
    "Request",
    "config_tables",
    "free_port",
    "invoke_command",
    "plug_object",
    "retained_messages",
    "run_command",
    "station_table",
    "status_example",
    "write_config",
]
