"""The access rules that docs/security.md gives are what the bridge needs, and no less."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, write_config

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def _rules() -> str:
    found = re.search(r"^```\n(user bridge\n.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found, "docs/security.md has no block of access rules"
    return found[1]


@pytest.mark.parametrize(("without", "refused"), [("", False), ("topic write homeassistant/#\n", True)])
def test_rules_of_the_page_are_enough_and_needed(
    tmp_path: Path, cloud: CloudServer, without: str, refused: bool
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "acl").write_text(_rules().replace(without, "") + "\nuser looker\ntopic readwrite #\n")
    cloud.answer(EXAMPLE_EVSE, status_example())
    with Mosquitto(folder, extra=[f"acl_file {folder / 'acl'}"]) as broker:
        login: dict[str, Any] = {"username": "bridge", "password": "any"}
        tables = config_tables(broker, cloud, mqtt=login, polling={"stale_after": 0})
        config = write_config(tmp_path / "config.toml", tables)
        with BridgeProcess.run(config) as bridge, Observer(broker.port, username="looker", password="any") as observer:
            observer.wait_for("evse/bridge/availability", "online")
            observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
            bridge.stop()
            assert ("refused" in bridge.stderr_text) is refused
            assert bool([topic for topic in observer.latest if topic.startswith("homeassistant/")]) is not refused
