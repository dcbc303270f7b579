"""Generates the tables between the marks in docs/topics.md from the topic contract.

    python -m scripts.topic_reference

Run it in the project's directory.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason, Station
from evse_mqtt_bridge.domain.statuses import STATUSES, UNKNOWN, Meaning
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue, symbolic
from evse_mqtt_bridge.publishing.contract import Kind, TopicRow
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.payload_schemas import examples, schema
from evse_mqtt_bridge.publishing.topics import Topics
from scripts.generated_section import replace_section

__all__ = ["DOCUMENT", "REASONS", "refreshed", "sections"]

DOCUMENT = Path("docs/topics.md")

REASONS: Mapping[Reason, str] = {
    Reason.ONLINE: "the values are valid",
    Reason.UNREACHABLE: "the API is unreachable or does not answer in time",
    Reason.SERVER_ERROR: "the API answers with a server error",
    Reason.RATE_LIMITED: "the API limits the request rate",
    Reason.UNAUTHORIZED: "the API rejects the token of the station",
    Reason.NOT_FOUND: "the API does not know the station",
    Reason.INVALID_RESPONSE: "the response, or the plug's part of the response, is invalid",
    Reason.OFFLINE: "the status is `offline`",
    Reason.CLOUD_OFFLINE: "the status is `cloud_offline`",
    Reason.STALE: "the value is older than `polling.stale_after`, in the future, or not confirmed since the start",
    Reason.MISSING: "the last response did not contain this plug",
}
"""Meaning of each reason. A plug has the reason of its station, unless the station is online."""

_TYPES: Mapping[Kind, str] = {
    Kind.TEXT: "text",
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "`true` `false`",
    Kind.TIME: "time",
    Kind.JSON: "JSON",
}


def refreshed(document: str) -> str:
    """Return `document` with new tables between each pair of marks.

    Raises:
        ValueError: A pair of marks is missing.
    """
    for name, text in sections().items():
        begin, end = f"<!-- {name}: made from the tables -->\n", f"<!-- {name}: end -->"
        document = replace_section(document, begin, end, f"\n{text}\n")
    return document


def sections() -> dict[str, str]:
    """Return each part of the reference as Markdown, by the name in its marks."""
    rows = list(catalogue(_inventory(None)))
    by_channel = {row.channel: row for row in rows}
    return {
        "topics": _table(("topic", "payload", "unit", "meaning"), map(_topic_cells, rows)),
        "status": _table(
            ("status", "meaning", "`charging`", "`vehicle_connected`", "`problem`", "`availability`"),
            (
                *(_status_cells(f"`{status}`", meaning) for status, meaning in STATUSES.items()),
                _status_cells("any other", UNKNOWN),
            ),
        ),
        "reasons": _table(("reason", "applies to", "meaning"), map(_reason_cells, Reason)),
        "state": _object(by_channel["plug.state"]),
        "bridge info": _object(by_channel["bridge.info"]),
        "station info": _object(by_channel["station.info"]),
        "discovery": "\n".join(_discovery_table(form) for form in ("entity", "device")),
    }


def _inventory(form: Form | None) -> Inventory:
    topics, stations = Topics("<base>"), (Station("", 1),)
    plain = PlainLocation(topics)
    locations = (plain, DiscoveryLocation("<prefix>", form)) if form else (plain,)
    return symbolic(Inventory(topics, "evse-mqtt-bridge", 1, stations, locations))


def _topic(row: TopicRow) -> str:
    topic = re.sub(r"{(\w+)}", r"<\1>", row.topic)
    return f"`{topic}`"


def _topic_cells(row: TopicRow) -> tuple[str, ...]:
    return _topic(row), _TYPES[row.kind], row.unit, row.description


def _status_cells(status: str, meaning: Meaning) -> tuple[str, ...]:
    flags = (meaning.charging, meaning.vehicle_connected, meaning.problem)
    cells = ("" if flag is None else f"`{str(flag).lower()}`" for flag in flags)
    return status, meaning.description, *cells, "`offline`" if meaning.unavailable else "`online`"


def _reason_cells(reason: Reason) -> tuple[str, ...]:
    return f"`{reason.value}`", "station, plug" if reason in STATION_REASONS else "plug", REASONS[reason]


def _object(row: TopicRow) -> str:
    """Return the keys of a JSON payload, and an example."""
    content = json.loads(examples()[row.channel])
    properties = schema(row)["properties"]
    keys = [(f"`{key}`", _json_type(value), str(value.get("description", ""))) for key, value in properties.items()]
    return f"{_table(('key', 'type', 'meaning'), keys)}\n```json\n{json.dumps(content, indent=2)}\n```\n"


def _json_type(value: Mapping[str, object]) -> str:
    match value.get("type"):
        case list(types):
            return " or ".join(types)
        case str(one):
            return one
    return f"`{json.dumps(value.get('const'))}`"


def _discovery_table(form: Form) -> str:
    rows = [row for row in catalogue(_inventory(form)) if row.channel.startswith("discovery.")]
    return _table((f'`homeassistant.discovery = "{form}"`',), ((_topic(row),) for row in rows))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
