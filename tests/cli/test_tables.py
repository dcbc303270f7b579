"""Rows of stations and plugs as text."""

from datetime import UTC, datetime

import pytest

from evse_mqtt_bridge.cli.common.columns import UNLIMITED
from evse_mqtt_bridge.cli.common.tables import reading_lines
from evse_mqtt_bridge.cli.common.topic_rows import TopicRow, topic_rows, topic_table
from evse_mqtt_bridge.domain.model import PlugReading, Station
from evse_mqtt_bridge.publishing.topics import Topics


@pytest.mark.parametrize(
    ("plug", "line"),
    [
        (PlugReading("p1"), "p1  -  -  - / - / - A  of -  -"),
        (
            PlugReading(
                "p1",
                label="[red]\x1b[31m\n中文",
                status="charging",
                power=-7.5,
                current_l1=1e-7,
                time=datetime(2024, 3, 25, 11, 12, 17, 851_000, UTC),
            ),
            "[red] [31m 中文  charging  -7.5 W  0.0000001 / - / - A  of -  2024-03-25T11:12:17Z",
        ),
    ],
)
def test_reading_lines_plug_formats_every_cell(plug: PlugReading, line: str) -> None:
    assert list(reading_lines([plug], Station("s", 30), 40)) == [line, "  uuid p1, no alias"]


def test_reading_lines_several_plugs_are_aligned() -> None:
    plugs = [PlugReading("p1", label="中文", status="idle"), PlugReading("p2", label="four", status="charging")]
    station = Station("s", 30, plugs={"p2": "right"}, plug_names={"p2": "five!"})
    assert list(reading_lines(plugs, station, UNLIMITED)) == [
        "中文   idle      -  - / - / - A  of -  -  uuid p1, no alias",
        "five!  charging  -  - / - / - A  of -  -  uuid p2, alias right",
    ]
    assert list(reading_lines([], station, 80)) == []


def test_topic_rows_payloads_become_cells() -> None:
    left, right = "evse/garage/a1/", "evse/garage/b2/"
    topics = {
        right + "availability": "offline",
        right + "availability_reason": "stale",
        left + "label": "Left\x1b[31m",
        left + "status": "charging",
        left + "power": "7107",
        left + "current_l1": "10.3",
        left + "current_l2": "10.3",
        left + "dyn_current_limit": "12",
        left + "availability": "online",
        left + "availability_reason": "online",
        "evse/garage/availability": "online",
        "evse/bridge/availability": "online",
        "homeassistant/sensor/x/power/config": "{}",
    }
    assert topic_rows(Topics("evse"), topics, {"garage": "Garage north"}) == [
        TopicRow("Garage north", "Left [31m", left[:-1], "charging", "7107 W", "10.3 / 10.3 / - A", "12 A", "online"),
        TopicRow("Garage north", "b2", right[:-1], availability="offline: stale", currents="- / - / - A"),
    ]


def test_topic_rows_follow_the_order_of_the_stations() -> None:
    topics = {f"evse/{station}/left/status": "idle" for station in ("station-10", "station-2", "other")}
    names = {"station-2": "Station 2", "station-10": "Station 10"}
    assert [row.station for row in topic_rows(Topics("evse"), topics, names)] == ["Station 2", "Station 10", "other"]


_ROW = TopicRow("S", "P", "evse/station-1/plug-1", "charging", "10649 W", "15.4 / 15.4 / 15.5 A", "16 A", "online")


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (83, "evse/station-1/plug-1  charging  10649 W  15.4 / 15.4 / 15.5 A   16 A  online"),
        (82, "evse/station-1/plug-1  charging  10649 W  15.4 / 15.4 / 15.5 A  online"),
        (60, "evse/station-1/plug-1  charging  10649 W  online"),
        (45, "evse/…plug-1  charging  10649 W  online"),
    ],
)
def test_topic_table_shows_power_and_availability_always(width: int, line: str) -> None:
    shown = [row.text.plain for row in topic_table([_ROW], width)]
    assert shown[1] == line
    assert ("POWER" in shown[0], "AVAILABILITY" in shown[0]) == (True, True)


def test_topic_table_without_rows_has_the_headings() -> None:
    assert len(topic_table([], 80)) == 1
