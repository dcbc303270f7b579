"""Rows 13 to 16 of the fault contract: plugs appear, disappear, go offline, stop updating, or have unknown values.

One bridge serves all of these tests; each test has its own station.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.setup import (
    PLUG,
    ReportRow,
    broker_cloud_observer,
    configure,
    log_entries,
    measurements,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_until_up,
)
from tests.harness import BridgeProcess, CloudServer, Observer, Request, plug_object

OTHER = "6bbf9fd56dc24f9697b078d5d8ccda84"
_STATIONS = 6
_STALE_AFTER = 3


def _utc(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _fresh(number: int, **changed: object) -> Callable[[Request], list[dict[str, Any]]]:
    """Return a function that answers requests with the current time as the measurement time."""
    return lambda _: station_answer(number, **{"time": _utc(), **changed})


@dataclass(frozen=True, slots=True)
class _Service:
    cloud: CloudServer
    observer: Observer
    bridge: BridgeProcess

    def values(self, number: int) -> dict[str, str]:
        """Return the measurements of a station without their time, by topic."""
        all_values = measurements(self.observer, number)
        return {topic: value for topic, value in all_values.items() if not topic.endswith("/time")}

    def wait(self, number: int, field: str, value: str, plug_uuid: str = PLUG) -> None:
        self.observer.wait_for(f"evse/{uuid_of(number)}/{plug_uuid}/{field}", value)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Service]:
    folder = tmp_path_factory.mktemp("plugs")
    with broker_cloud_observer(folder) as (broker, cloud, observer):
        for number in range(_STATIONS):
            cloud.answer(uuid_of(number), _fresh(number))
        polling = {"stale_after": _STALE_AFTER}
        with running_bridge(configure(folder, broker, cloud, _STATIONS, polling=polling)) as bridge:
            wait_until_up(observer, *range(_STATIONS))
            observer.sync()
            yield _Service(cloud, observer, bridge)


def test_missing_plug_goes_offline_and_new_plug_is_announced(service: _Service, report_row: ReportRow) -> None:
    """Row 13: the missing plug keeps its last values, with the reason `missing`; the new one gets discovery topics."""
    before = service.values(0)
    new = plug_object(evse_uuid=uuid_of(0), plug_uuid=OTHER, plug_label="New", power=11)
    service.cloud.answer(uuid_of(0), lambda _: [{**new, "time": _utc()}])
    service.wait(0, "availability", "offline")
    service.wait(0, "availability_reason", "missing")
    service.wait(0, "power", "11", OTHER)
    service.wait(0, "availability", "online", OTHER)
    service.observer.sync()
    announced = [topic for topic in service.observer.retained if topic.startswith("homeassistant/") and OTHER in topic]
    assert len(announced) > 5
    assert before.items() <= service.values(0).items()
    assert service.observer.latest[f"evse/{uuid_of(0)}/availability"] == "online"
    service.cloud.answer(uuid_of(0), _fresh(0))
    service.wait(0, "availability", "online")
    service.wait(0, "availability_reason", "missing", OTHER)
    service.bridge.wait_for_line(f'"{name_of(0)}".*"plug_available_again"')
    service.bridge.wait_for_line(f'"{name_of(0)}", "plug": "New".*"plug_unavailable"')
    failures = log_entries(service.bridge, "plug_unavailable", station=name_of(0), level="warning")
    assert [entry["reason"] for entry in failures] == ["missing", "missing"]
    report_row(
        13, f"{failures[0]['message']}: {failures[0]['reason']}; {len(announced)} discovery topics for the new plug"
    )


@pytest.mark.parametrize(("number", "status"), [(1, "offline"), (2, "cloud_offline")])
def test_plug_with_offline_status_goes_offline(
    service: _Service, report_row: ReportRow, number: int, status: str
) -> None:
    """Row 14: the availability reason is the vendor's status; the last values stay."""
    before = service.values(number)
    service.cloud.answer(uuid_of(number), [{"plug_uuid": PLUG, "status": status, "power": None}])
    service.wait(number, "availability", "offline")
    service.wait(number, "availability_reason", status)
    service.observer.sync()
    assert service.values(number) == {**before, f"evse/{uuid_of(number)}/{PLUG}/status": status}
    assert service.observer.latest[f"evse/{uuid_of(number)}/availability"] == "online"
    service.cloud.answer(uuid_of(number), _fresh(number))
    service.wait(number, "availability", "online")
    service.bridge.wait_for_line(f'"{name_of(number)}".*"plug_available_again"')
    (failure,) = log_entries(service.bridge, "plug_unavailable", station=name_of(number))
    report_row(14, f"{failure['level']}: {failure['message']}: {failure['reason']}")


def test_old_or_future_measurement_time_is_stale(service: _Service, report_row: ReportRow) -> None:
    """Row 15: `offline` with the reason `stale`; recovers by itself. The limit is 3 s instead of 20 min."""
    start, began = service.observer.count, time.monotonic()
    service.cloud.answer(uuid_of(3), station_answer(3, time=_utc()))
    service.wait(3, "availability", "offline")
    duration = time.monotonic() - began
    assert duration > _STALE_AFTER - 0.1
    service.wait(3, "availability_reason", "stale")
    service.cloud.answer(uuid_of(3), _fresh(3))
    service.wait(3, "availability", "online")
    service.cloud.answer(uuid_of(3), lambda _: station_answer(3, time=_utc(minutes=-10)))
    service.wait(3, "availability", "offline")
    service.wait(3, "availability_reason", "stale")
    service.cloud.answer(uuid_of(3), _fresh(3))
    service.wait(3, "availability", "online")
    topic = f"evse/{uuid_of(3)}/{PLUG}"
    assert service.observer.payloads(f"{topic}/availability", start) == ["offline", "online"] * 2
    assert service.observer.payloads(f"{topic}/power", start) == []
    reasons = [entry["reason"] for entry in log_entries(service.bridge, "plug_unavailable", station=name_of(3))]
    assert reasons == ["stale", "stale"]
    report_row(
        15,
        f"time does not change: stale after {duration:.1f} s with a limit of {_STALE_AFTER} s; "
        "10 min in the future: at once",
    )


def test_null_value_keeps_its_topic_and_is_null_in_state(service: _Service) -> None:
    """The plug stays available; `state` alone shows that the value is unknown."""
    topic = f"evse/{uuid_of(5)}/{PLUG}"

    def state() -> dict[str, Any]:
        return dict(json.loads(service.observer.latest[f"{topic}/state"]))

    before = service.values(5)
    service.cloud.answer(uuid_of(5), _fresh(5, power=None, status="idle"))
    service.observer.wait(lambda: state()["power"] is None)
    assert (state()["status"], state()["availability"]) == ("idle", "online")
    assert service.values(5)[f"{topic}/power"] == before[f"{topic}/power"]
    start = service.observer.count
    service.cloud.answer(uuid_of(5), _fresh(5))
    service.observer.wait(lambda: state()["power"] is not None)
    assert service.observer.payloads(f"{topic}/power", start) == [before[f"{topic}/power"]], "published again"


def test_unknown_status_and_field_are_logged_once(service: _Service, report_row: ReportRow) -> None:
    """Row 16: the bridge publishes an unknown status unchanged and ignores an unknown field."""
    power = itertools.count()
    unknown = {"status": "defrosting", "battery": 50}
    service.cloud.answer(uuid_of(4), lambda _: station_answer(4, time=_utc(), power=next(power), **unknown))
    service.wait(4, "status", "defrosting")
    service.wait(4, "power", "2")
    service.observer.sync()
    assert service.observer.latest[f"evse/{uuid_of(4)}/{PLUG}/availability"] == "online"
    assert not [topic for topic in service.observer.retained if "battery" in topic]
    details = [entry["detail"] for entry in log_entries(service.bridge, "unusual_answer", level="warning")]
    assert sorted(details) == [
        "field 'battery' is unknown and was ignored",
        "status 'defrosting' is unknown and was published unchanged",
    ]
    report_row(16, "; ".join(details))


def test_plugs_beyond_the_maximum_are_logged_once(service: _Service, report_row: ReportRow) -> None:
    """A station has at most 64 plugs; the log names those that the bridge leaves out."""
    plugs = [f"plug-{number:02}" for number in range(70)]
    service.cloud.answer(
        uuid_of(5),
        lambda _: [plug_object(evse_uuid=uuid_of(5), plug_uuid=plug, time=_utc()) for plug in [PLUG, *plugs]],
    )
    service.wait(5, "availability", "online", plugs[62])
    polled = len(service.cloud.requests_of(uuid_of(5)))
    service.cloud.wait_for_requests(polled + 2, uuid_of(5))
    service.observer.sync()
    published = {
        topic.split("/")[2] for topic in service.observer.retained if topic.startswith(f"evse/{uuid_of(5)}/plug")
    }
    assert published == set(plugs[:63])
    (entry,) = log_entries(service.bridge, "unusual_answer", station=name_of(5), level="warning")
    assert all(plug in entry["detail"] for plug in plugs[63:])
    report_row(16, entry["detail"])
