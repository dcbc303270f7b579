"""Logging as a component: the number of dropped lines is logged as soon as stderr can be written."""

import json
from io import StringIO

from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.observability.log_writer import LogWriter
from evse_mqtt_bridge.service.components.logging import Logging
from tests.harness.pipes import StuckPipe


def test_dropped_lines_are_logged_once_there_is_room() -> None:
    stream = StringIO()
    log = make_logger("info", "json", stream)
    with StuckPipe() as pipe:
        writer = LogWriter(pipe.writable, limit=50)
        component = Logging(log, EventLog(log, lambda: 0.0, "broker:1883", "client"), writer)
        for _ in range(30):
            writer.write(b"123456789\n")
        component.tick()
        assert (stream.getvalue(), component.dropped_lines) == ("", 25)
        pipe.read(pipe.filled)
        assert writer.drain(10)
    component.tick()
    component.tick()
    line = json.loads(stream.getvalue())
    assert (line["event"], line["lines"], line["level"]) == ("log_lines_dropped", 25, "warning")
