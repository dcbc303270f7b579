"""Rows 10 and 11 of the fault contract: invalid responses, endless responses, redirects."""

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.setup import (
    ReportRow,
    assert_cadence,
    configure,
    measurements,
    peak_memory,
    running_bridge,
    station_answer,
    uuid_of,
    wait_until_up,
)
from tests.harness import Mosquitto, Observer, Request
from tests.harness.misbehaving_server import (
    Behaviour,
    MisbehavingServer,
    answer,
    drip,
    endless,
    gzip_bomb,
    hang,
    raw,
    reset,
)

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_VALID_BODY = json.dumps(station_answer(0)).encode()


def _invalid_answers(other_host: str) -> dict[str, tuple[Behaviour, str]]:
    """Invalid responses for station 0, each with the expected availability reason; none may change a measurement."""
    infinite = station_answer(0, power=float("nan"), current_l1=float("inf"), current_l2=float("-inf"))
    wrong_types = station_answer(
        0, power="much", status=5, time="yesterday", current_l1=[1], current_l2={}, current_l3=True
    )
    page = "<!doctype html><title>Maintenance</title>"
    return {
        "HTML": (answer(page, content_type="text/html"), "invalid_response"),
        "redirect": (answer(_VALID_BODY, "302 Found", location=f"{other_host}/steal"), "invalid_response"),
        "redirect that keeps the method": (answer("", "308 Moved", location=other_host), "invalid_response"),
        "empty body": (answer(""), "invalid_response"),
        "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "invalid_response"),
        "truncated JSON": (answer(_VALID_BODY[:-20]), "invalid_response"),
        "NaN and infinities": (answer(infinite), "invalid_response"),
        "wrong types": (answer(wrong_types), "invalid_response"),
        "another station's uuid": (answer(station_answer(7, power=1)), "invalid_response"),
        "no plugs": (answer([]), "invalid_response"),
        "not an array": (answer({"plugs": station_answer(0, power=1)}), "invalid_response"),
        "not UTF-8": (answer(_VALID_BODY.replace(b"Plug 2", b"Plug \xff")), "invalid_response"),
        "deeply nested JSON": (answer("[" * 100_000), "invalid_response"),
        "a number of 100,000 digits": (answer(_VALID_BODY.replace(b"7107.0", b"9" * 100_000)), "invalid_response"),
        "an encoding that was not requested": (answer(_VALID_BODY, content_encoding="br"), "invalid_response"),
        "not HTTP": (raw(_VALID_BODY), "invalid_response"),
        "two Content-Length headers": (
            raw(_HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + _VALID_BODY),
            "invalid_response",
        ),
        "closed before the end": (raw(_HEAD + b"Content-Length: 5000\r\n\r\n" + _VALID_BODY), "unreachable"),
        "reset before the end": (reset(_HEAD + b"Content-Length: 5000\r\n\r\n" + _VALID_BODY), "unreachable"),
        "no answer": (hang(), "unreachable"),
    }


def _endless_answers() -> dict[str, tuple[Behaviour, str | None]]:
    """Responses without an end, or of too many bytes, each with the expected availability reason; `None`: any."""
    return {
        "byte by byte": (drip(_HEAD + b"\r\n" + _VALID_BODY, 0.05), "unreachable"),
        "2 GB body": (endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65536), "invalid_response"),
        "endless chunks": (
            endless(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"),
            "invalid_response",
        ),
        "gzip bomb": (gzip_bomb(200_000_000), "invalid_response"),
        "endless headers": (endless(_HEAD, b"X-More: " + b"x" * 100 + b"\r\n"), "invalid_response"),
        "one endless header": (endless(_HEAD + b"X-More: ", b"x" * 1000), "invalid_response"),
        # libcurl rejects these; other transports wait until the deadline
        "endless interim responses": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None),
    }


@dataclass(frozen=True, slots=True)
class _Measured:
    """The messages and requests that the broker and the servers received.

    Attributes:
        reasons: Availability reason by kind of invalid response.
        changed: Measurement topics that received a message.
        other_station: Polls of the station with valid responses.
        other_host: Connections to the redirects' host.
        seconds: Duration of the run.
        memory_growth: Growth of the bridge's peak memory, in bytes.
    """

    reasons: dict[str, str]
    changed: list[str]
    other_station: list[Request]
    other_host: int
    seconds: float
    memory_growth: int


def _send_invalid_answers(folder: Path) -> _Measured:
    """Send station 0 one invalid response after the other, with valid ones in between; station 1 gets valid ones."""
    with (
        Mosquitto(folder / "broker") as broker,
        MisbehavingServer() as cloud,
        MisbehavingServer() as other_host,
        ExitStack() as stack,
    ):
        for number in range(2):
            cloud.set_behaviour(uuid_of(number), answer(station_answer(number)))
        config = configure(folder, broker, cloud, 2, cloud={"timeout": 1}, polling={"offline_after": 1})
        bridge = stack.enter_context(running_bridge(config))
        observer = stack.enter_context(Observer(broker.port))
        topic = f"evse/{uuid_of(0)}/availability"
        wait_until_up(observer, 0, 1)
        observer.sync()
        first, memory, began = observer.count, peak_memory(bridge.pid), time.monotonic()
        measurement_topics = measurements(observer, 0).keys()
        reasons = {}
        for kind, (behaviour, _) in _invalid_answers(other_host.url).items():
            start = observer.count
            cloud.set_behaviour(uuid_of(0), behaviour)
            observer.wait(partial(_was_offline, observer, topic, start), what=f"{kind}: offline")
            reasons[kind] = observer.latest[f"{topic}_reason"]
            cloud.set_behaviour(uuid_of(0), answer(station_answer(0)))
            observer.wait(lambda: observer.latest[topic] == "online", what=f"online after {kind}")
        observer.sync()
        return _Measured(
            reasons,
            [message.topic for message in observer.messages_since(first) if message.topic in measurement_topics],
            cloud.requests_of(uuid_of(1)),
            other_host.connections,
            time.monotonic() - began,
            peak_memory(bridge.pid) - memory,
        )


def _was_offline(observer: Observer, topic: str, start: int) -> bool:
    return "offline" in observer.payloads(topic, start)


def test_invalid_answer_makes_only_its_station_unavailable(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 10: the station goes offline, keeps its measurements and recovers; no redirect is followed."""
    kinds, measured = _invalid_answers(""), _send_invalid_answers(tmp_path)
    assert measured.reasons == {kind: reason for kind, (_, reason) in kinds.items()}
    assert len(kinds) >= 16
    assert measured.changed == []
    assert measured.other_host == 0
    assert_cadence(measured.other_station)
    assert measured.memory_growth < 10_000_000
    for kind, reason in measured.reasons.items():
        report_row(10, f"{kind}: {reason}")
    report_row(
        10,
        f"{len(kinds)} kinds in {measured.seconds:.0f} s: 0 measurements changed, 0 connections to another host, "
        f"{len(measured.other_station)} polls of the other station on time",
    )


def test_endless_answers_are_limited_in_time_and_size(
    tmp_path: Path, broker: Mosquitto, observer: Observer, report_row: ReportRow
) -> None:
    """Row 11: the deadline is for the whole response; memory stays flat; other stations are not affected."""
    with MisbehavingServer() as cloud:
        answers = _endless_answers()
        names = list(answers)
        valid = len(names)
        for number in range(valid + 1):
            cloud.set_behaviour(uuid_of(number), answer(station_answer(number)))
        limits = {"timeout": 1}
        with running_bridge(
            configure(tmp_path, broker, cloud, valid + 1, cloud=limits, polling={"offline_after": 1})
        ) as bridge:
            wait_until_up(observer, *range(valid + 1))
            before = peak_memory(bridge.pid)
            for number, name in enumerate(names):
                cloud.set_behaviour(uuid_of(number), answers[name][0])
            for number, name in enumerate(names):
                observer.wait_for(f"evse/{uuid_of(number)}/availability", "offline")
                reason = observer.latest[f"evse/{uuid_of(number)}/availability_reason"]
                assert reason == (answers[name][1] or reason), name
                report_row(11, f"{name}: {reason}")
            cloud.wait_for_requests(len(cloud.requests_of(uuid_of(valid))) + 3, uuid_of(valid))
            # The endless responses keep this process busy too, which delays the recorded times of requests.
            assert_cadence(cloud.requests_of(uuid_of(valid)), tolerance=1.5)
            growth = peak_memory(bridge.pid) - before
            assert growth < 20_000_000
            bridge.stop(timeout=5)
    report_row(11, f"{valid} at once: memory at most {growth / 1e6:+.1f} MB; the other station polled on time")
