"""Rows of plugs from the retained topics that `demo` watches, and their table. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from evse_mqtt_bridge.cli.common.columns import Columns, widest
from evse_mqtt_bridge.cli.common.render import Line
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics
from evse_mqtt_bridge.support.text import clean

__all__ = ["TopicRow", "topic_rows", "topic_table"]

_UNKNOWN = "-"
_COLOURS = {"charging": "green", "recently_started_charging": "green", "discharging": "green", "error": "red"}
_HEADINGS = ("TOPIC", "STATUS", "POWER", "L1 / L2 / L3", "LIMIT", "AVAILABILITY")
_RIGHT_ALIGNED = frozenset({2, 4})  # indexes of _HEADINGS
_DROPPED_FIRST = (4, 3)  # indexes of _HEADINGS that are dropped in a narrow terminal, in this order


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A plug as published on its topics; a cell is empty if its topic has no value.

    Attributes:
        station: Name of the station.
        plug: Label of the plug, else its level in topics.
        topic: The common prefix of its topics, without a trailing slash.
        status: Payload of `status`.
        power: Payload of `power`, with its unit.
        currents: Payloads of `current_l1` to `current_l3`, with their unit.
        limit: Payload of `dyn_current_limit`, with its unit.
        availability: Payload of `availability`, and the reason if the plug is offline.
    """

    station: str
    plug: str
    topic: str
    status: str = ""
    power: str = ""
    currents: str = ""
    limit: str = ""
    availability: str = ""


def topic_rows(layout: Topics, topics: Mapping[str, str], names: Mapping[str, str]) -> list[TopicRow]:
    """Return a row per plug, in the order of `names`, then by label.

    Args:
        layout: The topic layout of the bridge.
        topics: Payload by topic.
        names: Name of a station by its level in topics.
    """
    plugs: dict[tuple[str, str], dict[str, str]] = {}
    for topic, payload in topics.items():
        parsed = layout.read(topic)
        if isinstance(parsed, PlugTopic):
            plugs.setdefault((parsed.station, parsed.plug), {})[parsed.field] = clean(payload)
    order = {level: number for number, level in enumerate(names)}
    rows = [
        (
            order.get(station, len(order)),
            TopicRow(
                station=names.get(station, station),
                plug=values.get("label", plug),
                topic=layout.plug(station, plug).removesuffix("/"),
                status=values.get("status", ""),
                power=_payload(values.get("power"), "W"),
                currents=_payload(" / ".join(values.get(f"current_l{phase}", _UNKNOWN) for phase in (1, 2, 3)), "A"),
                limit=_payload(values.get("dyn_current_limit"), "A"),
                availability=_published_availability(values),
            ),
        )
        for (station, plug), values in plugs.items()
    ]
    return [row for _, row in sorted(rows, key=lambda item: (item[0], item[1].station, item[1].plug))]


def topic_table(rows: Sequence[TopicRow], width: int) -> list[Line]:
    """Return a table of at most `width` cells, without limits and currents if they do not fit."""
    cells = [(row.topic, row.status, row.power, row.currents, row.limit, row.availability) for row in rows]
    widths = [widest(column) for column in zip(_HEADINGS, *cells, strict=True)]
    kept = list(range(len(_HEADINGS)))
    for index in _DROPPED_FIRST:
        if Columns([widths[index] for index in kept]).text_width > width:
            kept.remove(index)
    excess = Columns([widths[index] for index in kept]).text_width - width
    widths[0] -= min(max(excess, 0), widths[0] - 1)
    columns = Columns(
        [widths[index] for index in kept],
        [position for position, index in enumerate(kept) if index in _RIGHT_ALIGNED],
    )
    lines = [Line(Text(_selected(columns, _HEADINGS, kept), style="bold"))]
    for row, texts in zip(rows, cells, strict=True):
        style = _COLOURS.get(row.status, "") if row.availability == "online" else "yellow"
        lines.append(Line(Text(_selected(columns, texts, kept), style=style), 1))
    return lines


def _selected(columns: Columns, cells: Sequence[str], kept: Sequence[int]) -> str:
    return columns.row([cells[index] for index in kept]).rstrip()


def _payload(payload: str | None, unit: str) -> str:
    return f"{payload} {unit}" if payload else ""


def _published_availability(values: Mapping[str, str]) -> str:
    availability, reason = values.get("availability", ""), values.get("availability_reason", "")
    return availability if reason in ("", availability) else f"{availability}: {reason}"
