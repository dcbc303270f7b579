"""Rows 8 and 9 of the fault contract: the cloud rejects stations; tokens are sent to no other host."""

import signal
from pathlib import Path

import pytest

from tests.faults.setup import (
    ReportRow,
    assert_cadence,
    configure,
    log_entries,
    name_of,
    running_bridge,
    station_answer,
    uuid_of,
    wait_for_event,
    wait_until_up,
)
from tests.harness import Answer, CloudServer, Mosquitto, Observer, station_table
from tests.harness.misbehaving_server import MisbehavingServer, answer


def test_rejected_station_goes_offline_and_is_not_repolled(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Rows 8 and 9: on 401, 403, 404 and 410 at once; other stations continue; a reload tries a new token at once."""
    statuses = {0: 401, 1: 403, 2: 404, 3: 410}
    for number in range(5):
        cloud.answer(uuid_of(number), station_answer(number), token="canary-right")
    stations = [station_table(uuid_of(number), name=name_of(number), token="canary-right") for number in range(5)]
    stations[0]["token"] = "canary-wrong"
    for number in (1, 2, 3):
        cloud.answer(uuid_of(number), {"message": "no, canary-right"}, status=statuses[number])
    with running_bridge(configure(tmp_path, broker, cloud, stations)) as bridge:
        wait_until_up(observer)
        for number, status in statuses.items():
            reason = "unauthorized" if status in (401, 403) else "not_found"
            observer.wait_for(f"evse/{uuid_of(number)}/availability_reason", reason)
            observer.wait_for(f"evse/{uuid_of(number)}/availability", "offline")
        times = cloud.wait_for_requests(5, uuid_of(4))
        assert_cadence(times)
        for number in statuses:
            assert len(cloud.requests_of(uuid_of(number))) == 1
            (entry,) = log_entries(bridge, station=name_of(number), level="error")
            assert entry["event"] == "station_rejected"
            report_row(8 if number < 2 else 9, f"{entry['reason']}: {entry['detail']}; {entry['advice']}")
        assert not log_entries(bridge, station=name_of(4), level="error")
        assert "canary" not in bridge.stderr_text

        stations[0]["token"] = "canary-right"
        configure(tmp_path, broker, cloud, stations)
        bridge.send_signal(signal.SIGHUP)
        observer.wait_for(f"evse/{uuid_of(0)}/availability", "online")
        wait_for_event(bridge, "station_available_again")
        for number in (1, 2, 3):
            assert len(cloud.requests_of(uuid_of(number))) == 1, "a reload does not poll the others"


_PAGE = Answer("<html><h1>403 Forbidden</h1></html>", 403, {"Content-Type": "text/html"})


@pytest.mark.parametrize(
    "rejection",
    [_PAGE, Answer("", 401), Answer("", 404), Answer({"message": "no"}, 401)],
    ids=["page 403", "empty 401", "empty 404", "JSON 401"],
)
def test_rejection_of_all_stations_blames_no_token(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer, rejection: Answer, report_row: ReportRow
) -> None:
    """One line for all stations; a reload shows that the bridge recovers, and that a rejected token is found then."""
    for number in range(3):
        cloud.answer(uuid_of(number), station_answer(number))
    # The second run begins while the cloud rejects everything, so that retained values make the first failure count.
    config = configure(tmp_path, broker, cloud, 3)
    with running_bridge(config) as bridge:
        wait_until_up(observer, 0, 1, 2)
        bridge.stop()
    for number in range(3):
        cloud.answer(uuid_of(number), rejection)
    with running_bridge(config) as bridge:
        wait_for_event(bridge, "cloud_rejecting")
        for number in range(3):
            observer.wait_for(f"evse/{uuid_of(number)}/availability_reason", "server_error")
            observer.wait_for(f"evse/{uuid_of(number)}/availability", "offline")
        cloud.answer(uuid_of(0), station_answer(0))
        cloud.answer(uuid_of(1), station_answer(1))
        cloud.answer(uuid_of(2), {"message": "no"}, status=401)
        configure(tmp_path, broker, cloud, 3, cloud={"timeout": 9})  # polls all stations at once
        bridge.send_signal(signal.SIGHUP)
        wait_for_event(bridge, "cloud_answering")
        observer.wait_for(f"evse/{uuid_of(1)}/availability", "online")
        observer.wait_for(f"evse/{uuid_of(2)}/availability_reason", "unauthorized")
        wait_for_event(bridge, "station_rejected")
        bridge.stop()
    (line,) = log_entries(bridge, "cloud_rejecting", level="warning")
    assert "token" not in line["detail"]
    assert len(log_entries(bridge, "cloud_answering", level="info")) == 1
    (error,) = log_entries(bridge, level="error")
    assert (error["event"], error["station"]) == ("station_rejected", name_of(2))
    assert not log_entries(bridge, "station_unavailable", "station_available_again")
    report_row(8, f"{line['message']}: {line['detail']}")


@pytest.mark.parametrize("used", [False, True], ids=["not used", "used on request"])
def test_environment_proxy_is_only_used_if_configured(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, used: bool, report_row: ReportRow
) -> None:
    """Row 10: by default the token is sent to no other host; with `cloud.environment_proxy`, to the proxy."""
    cloud.answer(uuid_of(0), station_answer(0))
    with MisbehavingServer() as proxy, Observer(broker.port) as observer:
        proxy.set_behaviour("", answer(station_answer(0, power=5)))
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        env = {**dict.fromkeys(names, proxy.url), "no_proxy": "", "NO_PROXY": "", "mqtt_proxy": proxy.url}
        config = configure(tmp_path, broker, cloud, cloud={"environment_proxy": used} if used else {})
        with running_bridge(config, env=env):
            wait_until_up(observer)
            observer.wait_for(f"evse/{uuid_of(0)}/c99838f9eb5b423d98f8ba33389a255c/power", "5" if used else "7107")
        assert bool(proxy.connections) is used
        assert bool(cloud.requests) is not used
        tokens = [request.headers.get("evsetoken") for request in proxy.requests]
        assert tokens == [f"token-{uuid_of(0)}"] * len(tokens)
    report_row(10, f"proxy of the environment, {'used' if used else 'not used'}: it received {len(tokens)} requests")
