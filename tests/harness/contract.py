"""The topic contract as data, and what differs between two of them.

    python -m tests.harness.contract

writes tests/fixtures/contract-v<version>.json for a version that has none yet; it never writes over one.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue, symbolic
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from evse_mqtt_bridge.publishing.manifest import DiscoveryPlace, Form
from evse_mqtt_bridge.publishing.payload_schemas import schema
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["contract", "contract_file", "differences"]

_FIXTURES = Path(__file__).parent.parent / "fixtures"
_WORDS_FOR_PEOPLE = frozenset({"description", "examples"})
_FORMS: tuple[Form, ...] = ("entity", "device")


def contract_file(version: int) -> Path:
    """Where the contract of a version is kept."""
    return _FIXTURES / f"contract-v{version}.json"


def contract() -> dict[str, Any]:
    """What a consumer may rely on, as the tables say it: topics, types, units, payloads, and what statuses mean."""
    rows = {
        row.topic: row
        for form in _FORMS
        for row in catalogue(
            symbolic(
                Inventory(
                    Topics("evse"), "evse-mqtt-bridge", 1, (Station("", 1),), DiscoveryPlace("homeassistant", form)
                )
            )
        )
    }
    return {
        "contract": CONTRACT_VERSION,
        "topics": {
            topic: {
                "type": row.kind.value,
                "unit": row.unit,
                "quality_topic": row.quality,
                "time_topic": row.time,
                "retained": row.retained,
                "payload": _bare(schema(row)),
            }
            for topic, row in rows.items()
        },
        "statuses": {
            status: {
                "charging": told.charging,
                "vehicle_connected": told.vehicle_connected,
                "problem": told.problem,
                "unavailable": told.unavailable,
            }
            for status, told in STATUSES.items()
        },
    }


def differences(committed: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """One line for each thing that went, changed or was added."""
    before, after = dict(_leaves(committed)), dict(_leaves(current))
    both = before.keys() & after.keys()
    return [
        *(f"went: {path} ({value})" for path, value in before.items() if path not in both),
        *(
            f"changed: {path}: {value} -> {after[path]}"
            for path, value in before.items()
            if after.get(path, value) != value
        ),
        *(f"added: {path} ({value})" for path, value in after.items() if path not in both),
    ]


def _bare(part: Any) -> Any:  # noqa: ANN401  # any JSON
    """A schema without what is meant for people alone."""
    if isinstance(part, dict):
        # the names of properties are no keywords, whatever they are called
        return {
            key: {name: _bare(inner) for name, inner in value.items()} if key == "properties" else _bare(value)
            for key, value in part.items()
            if key not in _WORDS_FOR_PEOPLE
        }
    return part


def _leaves(part: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  # same
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _leaves(value, f"{path} > {key}" if path else key)
    else:
        yield path, json.dumps(part)


if __name__ == "__main__":
    kept = contract_file(CONTRACT_VERSION)
    if kept.exists():
        sys.exit(f"{kept} is there already, and a contract that was published stays as it is")
    kept.write_text(json.dumps(contract(), indent=2) + "\n")
