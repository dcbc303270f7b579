"""The retained messages of a running bridge match the document of `topics --asyncapi`: every topic and payload."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness import CloudServer, Observer, run_command
from tests.harness.asyncapi import channel_by_topic, document_errors, payload_errors
from tests.harness.cloud import EXAMPLE_PLUGS, plug_object
from tests.harness.configuration import station_table, write_config
from tests.service.conftest import Start

_OTHER = "b" * 32


@pytest.mark.parametrize(
    ("form", "protocol", "base"), [("entity", "5", "evse"), ("device", "3.1.1", "site/evse"), (None, "5", "evse")]
)
def test_retained_messages_match_the_asyncapi_document(
    tmp_path: Path,
    tables: dict[str, Any],
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Start,
    form: str | None,
    protocol: str,
    base: str,
) -> None:
    cloud.answer(_OTHER, [plug_object(evse_uuid=_OTHER, plug_uuid="p" * 32, status="discharging", power=-2300.5)])
    tables["stations"] = [
        station_table(name="Garage north", alias="garage-north", plugs={EXAMPLE_PLUGS[1]: "left"}),
        station_table(_OTHER),
    ]
    tables["mqtt"] |= {"protocol": protocol, "base_topic": base}
    tables["homeassistant"] = {"enabled": form is not None, "discovery": form or "entity"}
    config = write_config(tmp_path / "config.toml", tables)
    bridge_process(config)
    observer.wait_for(f"{base}/bridge/availability", "online")
    for station in ("garage-north", _OTHER):
        observer.wait_for(f"{base}/{station}/availability", "online")
    observer.sync()
    retained = observer.retained

    printed = run_command("topics", "--config", config, "--online", "--asyncapi")
    assert (printed.returncode, printed.stderr) == (0, "")
    document = json.loads(printed.stdout)
    assert document_errors(document) == []
    topics = channel_by_topic(document)
    assert retained.keys() == {topic for topic in topics if not topic.endswith("/session_event")}
    assert [
        found for topic, payload in retained.items() for found in payload_errors(document, topics[topic], payload)
    ] == []
    assert f"{base}/garage-north/left/power" in topics
    assert bool([topic for topic in topics if topic.startswith("homeassistant/")]) is (form is not None)
