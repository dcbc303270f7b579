"""The main purpose of the bridge: from a response of the cloud to retained topics on a broker."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS, plug_object, status_example
from tests.harness.configuration import config_tables, station_table, write_config
from tests.service.conftest import Start

STATION = f"evse/{EXAMPLE_EVSE}"
IDLE, CHARGING = (f"{STATION}/{plug}" for plug in EXAMPLE_PLUGS)

COUNTERS = ("energy", "energy_discharged", "energy_gap", "session_energy")
OPEN_SESSION = (
    '{"id":"c99838f9eb5b423d98f8ba33389a255c-20240325T111217Z","started":"2024-03-25T11:12:17.851Z",'
    '"started_known":false,"ended":null,"energy":0,"energy_discharged":0,"gap":0,"connected":0,"charging":0,'
    '"peak_power":7107}'
)
NO_SESSION = (
    '{"id":null,"started":null,"started_known":null,"ended":null,"energy":null,"energy_discharged":null,"gap":null,'
    '"connected":null,"charging":null,"peak_power":null}'
)
EXAMPLE_TREE = {
    f"{STATION}/availability": "online",
    f"{STATION}/availability_reason": "online",
    f"{IDLE}/status": "idle",
    f"{IDLE}/power": "0",
    f"{IDLE}/current_l1": "0",
    f"{IDLE}/current_l2": "0",
    f"{IDLE}/current_l3": "0",
    f"{IDLE}/dyn_current_limit": "6",
    f"{IDLE}/time": "2024-03-25T11:12:17.851Z",
    f"{IDLE}/label": "Plug 1",
    f"{IDLE}/charging": "false",
    f"{IDLE}/vehicle_connected": "false",
    f"{IDLE}/problem": "false",
    f"{IDLE}/iec61851": "A",
    **{f"{IDLE}/{counter}": "0" for counter in COUNTERS},
    f"{IDLE}/session": NO_SESSION,
    f"{IDLE}/last_session": NO_SESSION,
    f"{IDLE}/availability": "online",
    f"{IDLE}/availability_reason": "online",
    f"{IDLE}/state": (
        '{"status":"idle","power":0,"current_l1":0,"current_l2":0,"current_l3":0,"dyn_current_limit":6,'
        '"time":"2024-03-25T11:12:17.851Z","label":"Plug 1","charging":false,"vehicle_connected":false,'
        '"problem":false,"iec61851":"A","energy":0,"energy_discharged":0,"energy_gap":0,"session_energy":0,'
        '"session":null,"energy_time":"2024-03-25T11:12:17.851Z","availability_reason":"online",'
        '"availability":"online"}'
    ),
    f"{CHARGING}/status": "charging",
    f"{CHARGING}/power": "7107",
    f"{CHARGING}/current_l1": "10.3",
    f"{CHARGING}/current_l2": "10.3",
    f"{CHARGING}/current_l3": "10.3",
    f"{CHARGING}/dyn_current_limit": "12",
    f"{CHARGING}/time": "2024-03-25T11:12:17.851Z",
    f"{CHARGING}/label": "Plug 2",
    f"{CHARGING}/charging": "true",
    f"{CHARGING}/vehicle_connected": "true",
    f"{CHARGING}/problem": "false",
    f"{CHARGING}/iec61851": "C",
    **{f"{CHARGING}/{counter}": "0" for counter in COUNTERS},
    f"{CHARGING}/session": OPEN_SESSION,
    f"{CHARGING}/last_session": NO_SESSION,
    f"{CHARGING}/availability": "online",
    f"{CHARGING}/availability_reason": "online",
    f"{CHARGING}/state": (
        '{"status":"charging","power":7107,"current_l1":10.3,"current_l2":10.3,"current_l3":10.3,'
        '"dyn_current_limit":12,"time":"2024-03-25T11:12:17.851Z","label":"Plug 2","charging":true,'
        '"vehicle_connected":true,"problem":false,"iec61851":"C","energy":0,"energy_discharged":0,"energy_gap":0,'
        f'"session_energy":0,"session":{OPEN_SESSION},"energy_time":"2024-03-25T11:12:17.851Z",'
        '"availability_reason":"online","availability":"online"}'
    ),
}
"""Every topic of the vendor's example except the two `info`, which contain versions and times."""


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_vendor_example_yields_exactly_the_contract(
    tmp_path: Path, tables: dict[str, Any], observer: Observer, bridge_process: Start, protocol: str
) -> None:
    tables["mqtt"]["protocol"] = protocol
    bridge_process(write_config(tmp_path / "config.toml", tables))
    observer.wait_for("evse/bridge/availability", "online")
    observer.wait_for(f"{STATION}/availability", "online")
    observer.sync()
    values = {
        topic: payload
        for topic, payload in observer.retained.items()
        if topic.startswith(f"{STATION}/") and not topic.endswith("/info")
    }
    assert values == EXAMPLE_TREE
    if protocol == "5":
        types = {seen.topic: seen.content_type for seen in observer.messages if seen.topic.startswith("evse/")}
        assert types[f"{CHARGING}/state"] == "application/json"
        assert types[f"{CHARGING}/power"] is None
        live = {seen.topic for seen in observer.messages if not seen.retain}
        assert {topic for topic in live if topic.startswith(("evse/", "homeassistant/"))} <= {"evse/bridge/marker"}


def test_unchanged_answers_publish_nothing(
    config: Path, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    bridge_process(config)
    observer.wait_for("evse/bridge/availability", "online")
    observer.wait_for(f"{STATION}/availability", "online")
    seen = len(cloud.wait_for_requests(1))
    observer.sync()
    start = observer.count
    cloud.wait_for_requests(seen + 3)  # the last of them may be incomplete, the others are complete
    cloud.answer(EXAMPLE_EVSE, [status_example()[0], plug_object(power=7200.5)])
    observer.wait_for(f"{CHARGING}/power", "7200.5")
    observer.wait(lambda: '"power":7200.5,' in observer.latest[f"{CHARGING}/state"])
    observer.sync()
    assert sorted(
        seen.topic for seen in observer.messages_since(start) if seen.topic.startswith(("evse/", "homeassistant/"))
    ) == [
        f"{CHARGING}/power",
        f"{CHARGING}/state",
    ]


def test_time_alone_is_published_with_the_heartbeat(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    minute = iter(range(60))
    cloud.answer(EXAMPLE_EVSE, lambda _: [plug_object(time=f"2024-03-25T11:{next(minute):02}:17.851Z", power=0)])
    tables["polling"]["heartbeat"] = 3600
    bridge_process(write_config(tmp_path / "config.toml", tables))
    observer.wait_for(f"{CHARGING}/time")
    observer.wait_for("evse/bridge/availability", "online")
    start = observer.count
    cloud.wait_for_requests(len(cloud.requests) + 3)
    observer.sync()
    published = [seen.topic for seen in observer.messages_since(start) if seen.topic.startswith(CHARGING)]
    assert published in ([], [f"{CHARGING}/time", f"{CHARGING}/state"]), "at most one heartbeat falls into this time"
    cloud.answer(EXAMPLE_EVSE, [plug_object(time="2024-03-25T12:00:00.000Z", power=1)])
    observer.wait_for(f"{CHARGING}/power", "1")
    observer.wait_for(f"{CHARGING}/time", "2024-03-25T12:00:00.000Z")


@pytest.mark.parametrize(
    ("status", "availability", "reason", "problem"),
    [
        ("offline", "offline", "offline", "false"),
        ("cloud_offline", "offline", "cloud_offline", "false"),
        ("error", "online", "online", "true"),
        ("defrosting", "online", "online", "false"),
    ],
)
def test_status_change_updates_availability_and_back(
    config: Path,
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Start,
    status: str,
    availability: str,
    reason: str,
    problem: str,
) -> None:
    bridge_process(config)
    observer.wait_for(f"{CHARGING}/availability", "online")
    observer.wait_for("evse/bridge/availability", "online")
    cloud.answer(EXAMPLE_EVSE, [status_example()[0], plug_object(status=status)])
    observer.wait_for(f"{CHARGING}/status", status)
    observer.wait(lambda: f'"status":"{status}"' in observer.latest[f"{CHARGING}/state"])
    observer.wait_for(f"{CHARGING}/availability_reason", reason)
    observer.wait_for(f"{CHARGING}/availability", availability)
    observer.sync()
    now = observer.retained
    assert now[f"{CHARGING}/availability"] == availability
    assert now[f"{CHARGING}/availability_reason"] == reason
    assert now[f"{CHARGING}/problem"] == problem
    assert now[f"{CHARGING}/power"] == "7107"
    assert now[f"{IDLE}/availability"] == "online"
    cloud.answer(EXAMPLE_EVSE, status_example())
    observer.wait_for(f"{CHARGING}/status", "charging")
    observer.wait_for(f"{CHARGING}/availability", "online")
    observer.wait_for(f"{CHARGING}/problem", "false")
    observer.wait_for(f"{CHARGING}/availability_reason", "online")


def test_rejected_token_affects_its_station_only(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    uuids = [f"{number:032x}" for number in range(3)]
    for uuid in uuids:
        cloud.answer(uuid, [plug_object(evse_uuid=uuid)], token=f"token-{uuid}")
    stations = [station_table(uuid, name=f"Station {uuid[-1]}") for uuid in uuids]
    stations[1]["token"] = "not-the-token"
    bridge = bridge_process(
        write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations, polling={"stale_after": 0}))
    )
    observer.wait_for(f"evse/{uuids[1]}/availability_reason", "unauthorized")
    observer.wait_for(f"evse/{uuids[1]}/availability", "offline")
    for uuid in (uuids[0], uuids[2]):
        observer.wait_for(f"evse/{uuid}/availability", "online")
        times = [request.at for request in cloud.wait_for_requests(5, uuid)]
        assert times[-1] - times[1] == pytest.approx(len(times) - 2, abs=0.7), "polled each second, on its grid"
    assert len(cloud.requests_of(uuids[1])) == 1
    bridge.wait_for_line("station rejected.*reason=unauthorized.*station='Station 1'")
    assert bridge.stderr_text.count("error") == 1
    assert "not-the-token" not in bridge.stderr_text
