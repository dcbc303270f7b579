"""The two forms of log lines, also on a stream that cannot be written."""

import errno
import json
from io import StringIO
from typing import Literal

import pytest

from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event


class _FullDisk(StringIO):
    """A file on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", ["console", "json"])
def test_logger_on_full_disk_does_not_raise(form: Literal["console", "json"]) -> None:
    stream = _FullDisk()
    with pytest.raises(OSError, match="No space left"):
        stream.write("this raises")
    log_event(make_logger("info", form, stream), LogEvent.STATION_UNAVAILABLE)


def test_json_line_is_one_object() -> None:
    stream = StringIO()
    log_event(make_logger("info", "json", stream), LogEvent.STATION_UNAVAILABLE, station="Garage\nnorth")
    assert json.loads(stream.getvalue())["station"] == "Garage\nnorth"
    assert stream.getvalue().count("\n") == 1


def test_json_line_has_event_id_beside_message() -> None:
    stream = StringIO()
    log_event(make_logger("info", "json", stream), LogEvent.STATION_UNAVAILABLE)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["message"], line["level"]) == ("station_unavailable", "station unavailable", "warning")


def test_json_line_without_event_id_has_message_only() -> None:
    stream = StringIO()
    make_logger("info", "json", stream).warning("some text")
    line = json.loads(stream.getvalue())
    assert (line["message"], "event" in line) == ("some text", False)


def test_console_line_has_text_without_event_id() -> None:
    stream = StringIO()
    log_event(make_logger("info", "console", stream), LogEvent.STATION_UNAVAILABLE, station="Garage")
    assert "station unavailable" in stream.getvalue()
    assert "station=Garage" in stream.getvalue()
    assert "station_unavailable" not in stream.getvalue()


def test_line_below_the_level_is_not_written() -> None:
    stream = StringIO()
    log_event(make_logger("warning", "json", stream), LogEvent.STATION_AVAILABLE)
    assert stream.getvalue() == ""
