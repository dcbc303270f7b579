"""Rows 6, 7, 12 and 19 of the fault contract: the cloud fails, sends Retry-After, or is unreachable."""

import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.setup import (
    ReportRow,
    assert_cadence,
    broker_cloud_observer,
    configure,
    log_entries,
    measurements,
    name_of,
    patched_name_lookups,
    running_bridge,
    sleep_until,
    station_answer,
    uuid_of,
    wait_until_up,
)
from tests.harness import Answer, Authority, Certificate, CloudServer, Mosquitto, Observer, Request
from tests.harness.misbehaving_server import MisbehavingServer, answer
from tests.harness.net import free_port


def _failing(folder: Path) -> list[str]:
    """Poll three stations, which get 503, no response and valid responses; return lines for the report."""
    failed: dict[str, list[float]] = {uuid_of(0): [], uuid_of(1): []}

    def fail(request: Request) -> Answer:
        failed[request.uuid].append(request.at)
        return Answer("overloaded", 503) if request.uuid == uuid_of(0) else Answer(hang=True)

    with broker_cloud_observer(folder) as (broker, cloud, observer):
        for number in range(3):
            cloud.answer(uuid_of(number), station_answer(number))
        with running_bridge(configure(folder, broker, cloud, 3, cloud={"timeout": 0.5})) as bridge:
            wait_until_up(observer, 0, 1, 2)
            before = [measurements(observer, number) for number in range(2)]
            for uuid in failed:
                cloud.answer(uuid, fail)
            for uuid, reason in zip(failed, ("server_error", "unreachable"), strict=True):
                topic = f"evse/{uuid}/availability"
                observer.wait_for(f"{topic}_reason", reason, timeout=20)
                observer.wait_for(topic, "offline")
                offline = next(
                    seen.at for seen in observer.messages if (seen.topic, seen.payload) == (topic, "offline")
                )
                assert len([at for at in failed[uuid] if at < offline]) == 3
            for number in range(2):
                cloud.answer(uuid_of(number), station_answer(number))
            for number in range(2):
                observer.wait_for(f"evse/{uuid_of(number)}/availability", "online", timeout=20)
            observer.sync()
            assert before == [measurements(observer, number) for number in range(2)]
            assert_cadence(cloud.requests_of(uuid_of(2)))
            bridge.stop()
        assert not log_entries(bridge, "station_unavailable", station=name_of(2))
        lines = []
        for number in range(2):
            (failure,) = log_entries(bridge, "station_unavailable", station=name_of(number), level="warning")
            (recovery,) = log_entries(bridge, "station_available_again", station=name_of(number), level="info")
            lines.append(f"{failure['reason']}: {failure['detail']}; {recovery['message']} after {recovery['after']}")
        return lines


def test_station_goes_offline_after_three_failures(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 6: one warning, one info entry when it recovers; the other station keeps its cadence."""
    for line in _failing(tmp_path):
        report_row(6, line)


def _in_four_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)


def _long_ago() -> str:
    return format_datetime(datetime.now(UTC) - timedelta(days=365), usegmt=True)


# form: status, header value, minimum and maximum seconds without a request, wait in the log (none: not logged)
_FORMS: dict[str, tuple[int, Callable[[], str], float, float, str]] = {
    "seconds": (429, lambda: "3", 3, 4.5, "3.0 s"),
    "date": (503, _in_four_seconds, 2.9, 5.5, "[34].. s"),
    "negative": (429, lambda: "-7", 1, 2.5, "1.0 s"),
    "past": (503, _long_ago, 1, 2.5, "1.0 s"),
    "absurd": (503, lambda: "9" * 30, 5, float("inf"), "1 h 00 min"),
    "invalid": (429, lambda: "tomorrow", 0, 2.5, ""),
}


def _retry_after(folder: Path) -> str:
    """Poll three stations for each form; only the first response of each station has Retry-After."""
    with Mosquitto(folder / "broker") as broker, ExitStack() as stack:
        clouds = {form: stack.enter_context(CloudServer()) for form in _FORMS}
        bridges = {}
        for form, (status, header, *_) in _FORMS.items():
            for number in range(3):
                clouds[form].answer(uuid_of(number), _once(number, status, header))
            config = configure(folder / form, broker, clouds[form], 3, mqtt={"client_id": form, "base_topic": form})
            bridges[form] = stack.enter_context(running_bridge(config))
        for cloud in clouds.values():
            cloud.wait_for_requests(3, timeout=30)
        sleep_until(time.monotonic() + 5.5)
        gaps = {}
        for form, (_, _, least, most, wait) in _FORMS.items():
            times = [request.at for request in clouds[form].requests] + [time.monotonic()]
            gaps[form] = max(later - earlier for earlier, later in pairwise(times[:5]))
            assert least - 0.05 <= gaps[form] < max(most, 8), form
            assert (len(clouds[form].requests) == 3) is (most > 6), form
            assert len(log_entries(bridges[form], "cloud_rate_limited")) == bool(wait), form
            if wait:
                bridges[form].wait_for_line(f'"wait": "{wait}"')
        return ", ".join(f"{form}: {gap:.1f} s" for form, gap in gaps.items())


def test_retry_after_delays_all_requests_to_the_host(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 7: with each form of the header; an invalid value is ignored."""
    report_row(7, _retry_after(tmp_path))


def _once(number: int, status: int, header: Callable[[], str]) -> Callable[[Request], Answer]:
    first_request = iter([True])

    def answer_of(_request: Request) -> Answer:
        if next(first_request, False):
            return Answer("", status, {"Retry-After": header()})
        return Answer(station_answer(number))

    return answer_of


def _repeated_retry_after(folder: Path) -> str:
    with broker_cloud_observer(folder) as (broker, cloud, _):
        for number in range(10):
            cloud.answer(uuid_of(number), "", status=429, headers={"Retry-After": "1"})
        with running_bridge(configure(folder, broker, cloud, 10, log={"level": "info"})) as bridge:
            began = cloud.wait_for_requests(1, timeout=30)[0].at
            sleep_until(began + 5)
            assert len(cloud.requests) <= 10 + 5 * 10
            assert len(log_entries(bridge, "cloud_rate_limited")) == 1
            return (
                f"`Retry-After: 1` in every answer for 5 s: {len(cloud.requests)} requests of 10 stations, 1 log line"
            )


def test_repeated_retry_after_is_obeyed_and_logged_once(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 19: with `Retry-After: 1` in every response, each station is polled at most once a second."""
    report_row(19, _repeated_retry_after(tmp_path))


def _server(files: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert_file, files.key_file)
    return context


@pytest.fixture
def unknown_authority(tmp_path: Path) -> Authority:
    """A CA that the bridge does not trust."""
    return Authority(tmp_path / "unknown", "unknown CA")


def test_server_that_fails_verification_gets_no_request(
    tmp_path: Path,
    broker: Mosquitto,
    observer: Observer,
    authority: Authority,
    unknown_authority: Authority,
    report_row: ReportRow,
) -> None:
    """Row 12: DNS failure, refused connection, and certificates that are expired, for another host, or untrusted."""
    certificates = {
        "trusted": authority.issue("trusted"),
        "expired": authority.issue("expired", expires_in=-3600),
        "other host": authority.issue("other", hosts=("other.example",)),
        "unknown CA": unknown_authority.issue("untrusted"),
    }
    details = {
        "no name": r"DNS: the name could not be resolved",
        "refused": r"connection refused",
        "expired": r"TLS: .*expired",
        "other host": r"TLS: .*(mismatch|not valid for)",
        "unknown CA": r"TLS: .*unable to get local issuer|TLS: .*self.signed",
        "no TLS": r"TLS: ",
    }
    lookups = patched_name_lookups(tmp_path)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(MisbehavingServer(tls=_server(files))) for name, files in certificates.items()
        }
        plain = stack.enter_context(CloudServer())
        urls = {name: server.url for name, server in servers.items()} | {"no TLS": plain.url.replace("http:", "https:")}
        urls |= {"no name": "https://nowhere.test", "refused": f"https://127.0.0.1:{free_port()}"}
        bridges = {}
        for name, url in urls.items():
            settings = {"ca_file": str(authority.ca_file)}
            base = name.replace(" ", "-")
            if name in servers:
                servers[name].set_behaviour(uuid_of(0), answer(station_answer(0)))
            mqtt = {"client_id": base, "base_topic": base}
            config = configure(tmp_path / base, broker, url, mqtt=mqtt, cloud=settings, polling={"offline_after": 1})
            bridges[name] = stack.enter_context(running_bridge(config, env=lookups))
        observer.wait_for(f"trusted/{uuid_of(0)}/availability", "online", timeout=30)
        for name, detail in details.items():
            observer.wait_for(f"{name.replace(' ', '-')}/{uuid_of(0)}/availability_reason", "unreachable", timeout=30)
            bridges[name].wait_for_line(rf'"detail": "{detail}.*"event": "station_unavailable"')
        for name, server in servers.items():
            assert bool(server.requests) is (name == "trusted"), name
            assert server.connections > 0 or name != "trusted"
        assert not plain.requests
        logged = {name: log_entries(bridges[name], "station_unavailable")[0]["detail"] for name in details}
    for name, detail in logged.items():
        report_row(12, f"{name}: {detail}")


def test_failure_of_all_stations_limits_requests_and_log(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, report_row: ReportRow
) -> None:
    """Row 19: all of 200 stations fail, then all recover."""
    stations = 200
    recovered = False

    def answer_of(request: Request) -> Answer:
        return Answer(station_answer(int(request.uuid, 16))) if recovered else Answer("", 500)

    for number in range(stations):
        cloud.answer(uuid_of(number), answer_of)
    limits = {"max_requests_per_second": 200}
    config = configure(tmp_path, broker, cloud, stations, cloud=limits, log={"level": "info"})
    with running_bridge(config) as bridge, Observer(broker.port) as observer:
        first = cloud.wait_for_requests(1, timeout=30)[0].at
        observer.wait(lambda: _offline(observer) == stations, timeout=30, what="all stations to be offline")
        recovered = True
        cloud.wait_for_requests(len(cloud.requests) + 150, timeout=20)
        times = [request.at - first for request in cloud.requests]
        busiest = max(sum(start <= at < start + 1 for at in times) for start in times)
        lines = len(log_entries(bridge))
        assert busiest <= 200 + 25
        assert lines <= 60 + 5
        assert "Traceback" not in bridge.stderr_text
    report_row(19, f"{stations} stations failing: at most {busiest} requests in a second, {lines} log lines in all")


def _offline(observer: Observer) -> int:
    return sum(
        topic.count("/") == 2 and topic.endswith("/availability") and payload == "offline"
        for topic, payload in observer.latest.items()
    )
