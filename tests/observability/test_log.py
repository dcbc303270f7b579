"""Log lines, where they cannot be written."""

import errno
import json
from io import StringIO
from typing import Literal

import pytest

from evse_mqtt_bridge.observability.log import make_logger


class _Full(StringIO):
    """A file on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_full_disk_does_not_end_the_bridge(form: Literal["console", "json"]) -> None:
    full = _Full()
    with pytest.raises(OSError, match="No space left"):
        full.write("so it does raise")
    make_logger("info", form, full).warning("station unavailable")


def test_json_is_one_object_a_line() -> None:
    stream = StringIO()
    make_logger("info", "json", stream).warning("station unavailable", station="Garage\nnorth")
    assert json.loads(stream.getvalue())["station"] == "Garage\nnorth"
    assert stream.getvalue().count("\n") == 1
