"""The access rules in docs/security.md are sufficient and necessary for the bridge."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, write_config

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def _rules() -> str:
    """Return the access rules of the page, in Mosquitto's syntax."""
    block = re.search(r"^```\n(user bridge\n.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block, "docs/security.md has no block of access rules"
    return block[1]


@pytest.mark.parametrize(("removed_rule", "is_rejected"), [("", False), ("topic write homeassistant/#\n", True)])
def test_documented_access_rules_are_sufficient_and_necessary(
    tmp_path: Path, cloud: CloudServer, removed_rule: str, is_rejected: bool
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "acl").write_text(_rules().replace(removed_rule, "") + "\nuser observer\ntopic readwrite #\n")
    cloud.answer(EXAMPLE_EVSE, status_example())
    with Mosquitto(folder, extra=[f"acl_file {folder / 'acl'}"]) as broker:
        login: dict[str, Any] = {"username": "bridge", "password": "any"}
        tables = config_tables(broker, cloud, mqtt=login, polling={"stale_after": 0})
        config = write_config(tmp_path / "config.toml", tables)
        with (
            BridgeProcess.run(config) as bridge,
            Observer(broker.port, username="observer", password="any") as observer,
        ):
            observer.wait_for("evse/bridge/availability", "online")
            observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
            bridge.stop()
            assert ("broker rejected a message" in bridge.stderr_text) is is_rejected
            assert bool([topic for topic in observer.latest if topic.startswith("homeassistant/")]) is not is_rejected
