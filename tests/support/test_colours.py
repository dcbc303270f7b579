"""NO_COLOR, FORCE_COLOR and TERM decide about colours, in this order; else only a terminal has them."""

from collections.abc import Mapping
from io import StringIO

import pytest

from evse_mqtt_bridge.support.colours import wants_colours


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "in_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "0"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_environment_decides_about_colours(environ: Mapping[str, str], *, in_terminal: bool, in_pipe: bool) -> None:
    assert (wants_colours(_Terminal(), environ), wants_colours(StringIO(), environ)) == (in_terminal, in_pipe)
