"""Rows 10 and 11 of the fault contract: answers that are none, that never end, or that lead elsewhere."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.setup import (
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

ReportRow = Callable[[int, str], None]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_GOOD = json.dumps(station_answer(0)).encode()


def _kinds(elsewhere: str) -> dict[str, tuple[Behaviour, str]]:
    """Lies to station 0, each with the reason that its availability must give; none tells other measurements."""
    other = station_answer(0, power=float("nan"), current_l1=float("inf"), current_l2=float("-inf"))
    wrong = station_answer(0, power="much", status=5, time="yesterday", current_l1=[1], current_l2={}, current_l3=True)
    page = "<!doctype html><title>Maintenance</title>"
    return {
        "HTML": (answer(page, content_type="text/html"), "invalid_response"),
        "redirect": (answer(_GOOD, "302 Found", location=f"{elsewhere}/steal"), "invalid_response"),
        "redirect that keeps the method": (answer("", "308 Moved", location=elsewhere), "invalid_response"),
        "empty body": (answer(""), "invalid_response"),
        "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "invalid_response"),
        "truncated JSON": (answer(_GOOD[:-20]), "invalid_response"),
        "NaN and infinities": (answer(other), "invalid_response"),
        "wrong types": (answer(wrong), "invalid_response"),
        "another station's uuid": (answer(station_answer(7, power=1)), "invalid_response"),
        "no plugs": (answer([]), "invalid_response"),
        "no array": (answer({"plugs": station_answer(0, power=1)}), "invalid_response"),
        "no UTF-8": (answer(_GOOD.replace(b"Plug 2", b"Plug \xff")), "invalid_response"),
        "deep JSON": (answer("[" * 100_000), "invalid_response"),
        "a number of 100,000 digits": (answer(_GOOD.replace(b"7107.0", b"9" * 100_000)), "invalid_response"),
        "an encoding that nobody asked for": (answer(_GOOD, content_encoding="br"), "invalid_response"),
        "no HTTP": (raw(_GOOD), "invalid_response"),
        "two lengths": (raw(_HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n" + _GOOD), "invalid_response"),
        "cut off in the middle": (raw(_HEAD + b"Content-Length: 5000\r\n\r\n" + _GOOD), "unreachable"),
        "reset in the middle": (reset(_HEAD + b"Content-Length: 5000\r\n\r\n" + _GOOD), "unreachable"),
        "silence": (hang(), "unreachable"),
    }


_BOTTOMLESS: dict[str, tuple[Behaviour, str | None]] = {
    "drips": (drip(_HEAD + b"\r\n" + _GOOD, 0.05), "unreachable"),
    "2 GB body": (endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65536), "invalid_response"),
    "chunks without an end": (
        endless(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"),
        "invalid_response",
    ),
    "gzip bomb": (gzip_bomb(200_000_000), "invalid_response"),
    "headers without an end": (endless(_HEAD, b"X-More: " + b"x" * 100 + b"\r\n"), "invalid_response"),
    "a header without an end": (endless(_HEAD + b"X-More: ", b"x" * 1000), "invalid_response"),
    # libcurl refuses them, aiohttp waits until the deadline
    "interim answers without an end": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None),
}


@dataclass(frozen=True, slots=True)
class _Walk:
    told: dict[str, str]
    changed: list[str]
    neighbour: list[Request]
    elsewhere: int
    seconds: float
    grown: int


def _walk(folder: Path) -> _Walk:
    """Station 0 is told one lie after the other, and the truth in between; station 1 always hears the truth."""
    with (
        Mosquitto(folder / "broker") as broker,
        MisbehavingServer() as cloud,
        MisbehavingServer() as elsewhere,
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
        measured = measurements(observer, 0).keys()
        told = {}
        for kind, (behaviour, _) in _kinds(elsewhere.url).items():
            start = observer.count
            cloud.set_behaviour(uuid_of(0), behaviour)
            observer.wait(partial(_went, observer, topic, start), what=f"{kind}: offline")
            told[kind] = observer.latest[f"{topic}_reason"]
            cloud.set_behaviour(uuid_of(0), answer(station_answer(0)))
            observer.wait(lambda: observer.latest[topic] == "online", what=f"online after {kind}")
        observer.sync()
        return _Walk(
            told,
            [seen.topic for seen in observer.messages_since(first) if seen.topic in measured],
            cloud.requests_of(uuid_of(1)),
            elsewhere.connections,
            time.monotonic() - began,
            peak_memory(bridge.pid) - memory,
        )


def _went(observer: Observer, topic: str, start: int) -> bool:
    return "offline" in observer.payloads(topic, start)


def test_one_bad_answer_after_the_other(tmp_path: Path, report_row: ReportRow) -> None:
    """Row 10: each turns the station offline, changes nothing, leads nowhere, leaves the neighbour alone and passes."""
    kinds, walk = _kinds(""), _walk(tmp_path)
    assert walk.told == {kind: reason for kind, (_, reason) in kinds.items()}
    assert len(kinds) >= 16
    assert walk.changed == []
    assert walk.elsewhere == 0
    assert_cadence(walk.neighbour)
    assert walk.grown < 10_000_000
    for kind, reason in walk.told.items():
        report_row(10, f"{kind}: {reason}")
    report_row(
        10,
        f"{len(kinds)} kinds in {walk.seconds:.0f} s: 0 measurements changed, 0 connections to another host, "
        f"{len(walk.neighbour)} polls of the neighbour on its grid",
    )


def test_answers_without_a_bottom(tmp_path: Path, broker: Mosquitto, observer: Observer, report_row: ReportRow) -> None:
    """Row 11: a deadline for the whole answer, a limit for its size, memory flat, the other stations as ever."""
    with MisbehavingServer() as cloud:
        names = list(_BOTTOMLESS)
        well = len(names)
        for number in range(well + 1):
            cloud.set_behaviour(uuid_of(number), answer(station_answer(number)))
        limits = {"timeout": 1}
        with running_bridge(
            configure(tmp_path, broker, cloud, well + 1, cloud=limits, polling={"offline_after": 1})
        ) as bridge:
            wait_until_up(observer, *range(well + 1))
            before = peak_memory(bridge.pid)
            for number, name in enumerate(names):
                cloud.set_behaviour(uuid_of(number), _BOTTOMLESS[name][0])
            for number, name in enumerate(names):
                observer.wait_for(f"evse/{uuid_of(number)}/availability", "offline")
                reason = observer.latest[f"evse/{uuid_of(number)}/availability_reason"]
                assert reason == (_BOTTOMLESS[name][1] or reason), name
                report_row(11, f"{name}: {reason}")
            cloud.wait_for_requests(len(cloud.requests_of(uuid_of(well))) + 3, uuid_of(well))
            # The floods keep this process busy too, and with it the clock by which requests are taken down.
            assert_cadence(cloud.requests_of(uuid_of(well)), tolerance=1.5)
            grown = peak_memory(bridge.pid) - before
            assert grown < 20_000_000
            bridge.stop(timeout=5)
    report_row(11, f"{well} at once: memory at most {grown / 1e6:+.1f} MB; the last station polled as ever")
