"""The topic contract as data, and the differences between two versions of it.

    python -m tests.harness.contract

writes tests/fixtures/contract-v<version>.json if that version has no file yet. It never overwrites one.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue, symbolic
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, TopicRow
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.payload_schemas import schema
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["contract", "contract_file", "differences"]

_FIXTURES = Path(__file__).parent.parent / "fixtures"
_TEXTS_FOR_PEOPLE = frozenset({"description", "examples"})
_FORMS: tuple[Form, ...] = ("entity", "device")


def contract_file(version: int) -> Path:
    """Return the path of the file with the contract of a version."""
    return _FIXTURES / f"contract-v{version}.json"


def contract() -> dict[str, Any]:
    """Return the current contract, from the code's tables: topics, types, units, payloads and meanings of statuses."""
    topics, stations = Topics("evse"), (Station("", 1),)
    rows: dict[str, TopicRow] = {}
    for form in _FORMS:
        locations = (PlainLocation(topics), DiscoveryLocation("homeassistant", form))
        inventory = symbolic(Inventory(topics, "evse-mqtt-bridge", 1, stations, locations))
        rows |= {row.topic: row for row in catalogue(inventory)}
    return {
        "contract": CONTRACT_VERSION,
        "topics": {
            topic: {
                "type": row.kind.value,
                "unit": row.unit,
                "quality_topic": row.quality,
                "time_topic": row.time,
                "retained": row.retained,
                "payload": _without_texts(schema(row)),
            }
            for topic, row in rows.items()
        },
        "statuses": {
            status: {
                "charging": meaning.charging,
                "vehicle_connected": meaning.vehicle_connected,
                "problem": meaning.problem,
                "unavailable": meaning.unavailable,
            }
            for status, meaning in STATUSES.items()
        },
    }


def differences(committed: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return one line for each entry that was removed, changed or added."""
    before, after = dict(_leaves(committed)), dict(_leaves(current))
    both = before.keys() & after.keys()
    return [
        *(f"removed: {path} ({value})" for path, value in before.items() if path not in both),
        *(
            f"changed: {path}: {value} -> {after[path]}"
            for path, value in before.items()
            if after.get(path, value) != value
        ),
        *(f"added: {path} ({value})" for path, value in after.items() if path not in both),
    ]


def _without_texts(part: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return a schema without the keywords meant for people only."""
    if isinstance(part, dict):
        # a property may be called "description"; that is a name and not a keyword
        return {
            key: {name: _without_texts(inner) for name, inner in value.items()}
            if key == "properties"
            else _without_texts(value)
            for key, value in part.items()
            if key not in _TEXTS_FOR_PEOPLE
        }
    return part


def _leaves(part: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  # same
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _leaves(value, f"{path} > {key}" if path else key)
    else:
        yield path, json.dumps(part)


if __name__ == "__main__":
    file = contract_file(CONTRACT_VERSION)
    if file.exists():
        sys.exit(f"{file} exists already; a published contract never changes")
    file.write_text(json.dumps(contract(), indent=2) + "\n")
