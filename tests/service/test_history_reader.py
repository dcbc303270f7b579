"""The reads of the history are bounded, limited in time and shared."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from evse_mqtt_bridge.config.schema import Config, History, Mqtt
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service import history_reader
from evse_mqtt_bridge.service.history_reader import HistoryReader
from evse_mqtt_bridge.storage.report_request import (
    HistoryUnavailableError,
    ReportKind,
    ReportRequest,
    ReportRequestError,
)


class _Database:
    """Replaces the database; each read waits until it is released.

    Attributes:
        reads: The limits of the requests that were read.
        result: What a read returns or raises.
    """

    def __init__(self) -> None:
        self.reads: list[int | None] = []
        self.result: bytes | Exception = b"[]"
        self.started = threading.Semaphore(0)
        self.released = threading.Event()
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()

    def report(self, _settings: History, request: ReportRequest, _now: object) -> bytes:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            self.reads.append(request.limit)
        self.started.release()
        assert self.released.wait(10)
        with self._lock:
            self._running -= 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Database]:
    database = _Database()
    monkeypatch.setattr(history_reader, "_report", database.report)
    yield database
    database.released.set()


class _Time:
    now = 0.0


def _reader(time: _Time | None = None, *, enabled: bool = True) -> HistoryReader:
    time = time or _Time()
    return HistoryReader(_config(enabled=enabled), Clock(lambda: time.now, lambda: 0.0), str)


def _config(*, enabled: bool = True) -> Config:
    return Config(mqtt=Mqtt(host="broker.test"), history=History(enabled=enabled))


def _request(number: int = 1) -> ReportRequest:
    return ReportRequest(ReportKind.SESSIONS, limit=number)


@contextmanager
def _raises(text: str) -> Iterator[Any]:
    with pytest.raises(HistoryUnavailableError, match=text) as caught:
        yield caught


async def test_reads_of_the_same_report_share_one(database: _Database) -> None:
    reader = _reader()
    reads = [asyncio.create_task(reader.report(_request())) for _ in range(10)]
    await asyncio.to_thread(database.started.acquire)
    reads[0].cancel()
    database.released.set()
    assert await asyncio.gather(*reads[1:]) == [b"[]"] * 9
    assert await reader.report(_request()) == b"[]"
    assert len(database.reads) == 1


async def test_result_expires(database: _Database) -> None:
    database.released.set()
    time = _Time()
    reader = _reader(time)
    await reader.report(_request())
    time.now += 21
    await reader.report(_request())
    assert len(database.reads) == 2


async def test_failure_and_large_result_are_not_kept(database: _Database) -> None:
    database.released.set()
    reader = _reader()
    for result in (HistoryUnavailableError("gone"), ReportRequestError("wrong")):
        database.result = result
        with pytest.raises(type(result)):
            await reader.report(_request())
    database.result = b"x" * 100_000
    await reader.report(_request())
    await reader.report(_request())
    assert len(database.reads) == 4


async def test_two_reads_run_at_a_time(database: _Database) -> None:
    reader = _reader()
    reads = [asyncio.create_task(reader.report(_request(number))) for number in range(1, 11)]
    for _ in range(2):
        await asyncio.to_thread(database.started.acquire)
    database.released.set()
    await asyncio.gather(*reads)
    assert database.most == 2
    assert len(database.reads) == 10


async def test_reads_above_the_limit_are_rejected(database: _Database) -> None:
    reader = _reader()
    reads = [asyncio.create_task(reader.report(_request(number))) for number in range(16)]
    await asyncio.to_thread(database.started.acquire)
    with _raises("too many reports"):
        await reader.report(_request(99))
    database.released.set()
    await asyncio.gather(*reads)
    assert await reader.report(_request(99)) == b"[]"


async def test_hanging_database_times_out_and_keeps_its_slot(
    database: _Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_reader, "_TIME_LIMIT", 0.05)
    reader = _reader()
    for number in range(4):
        with _raises("did not answer within"):
            await reader.report(_request(number))
    assert len(database.reads) == 2, "no third thread while two hang"
    monkeypatch.setattr(history_reader, "_TIME_LIMIT", 10.0)
    database.released.set()
    assert await reader.report(_request()) == b"[]"


async def test_reader_after_reload_reads_the_new_database(monkeypatch: pytest.MonkeyPatch) -> None:
    urls: list[str] = []

    def report(settings: History, *_: object) -> bytes:
        urls.append(settings.url)
        return b"[]"

    monkeypatch.setattr(history_reader, "_report", report)
    reader = _reader()
    await reader.report(_request())
    reader.reconfigure(_config().model_copy(update={"history": History(url="sqlite:////other")}))
    await reader.report(_request())
    assert urls == ["", "sqlite:////other"]
    reader.reconfigure(_config(enabled=False))
    with _raises("history.enabled is false"):
        await reader.report(_request())


async def test_failed_read_without_client_is_no_bug(database: _Database) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    database.result = HistoryUnavailableError("gone")
    read = asyncio.create_task(_reader().report(_request()))
    await asyncio.to_thread(database.started.acquire)
    read.cancel()
    database.released.set()
    with pytest.raises(asyncio.CancelledError):
        await read
    done = [task for task in asyncio.all_tasks() if task.get_name() == "history read"]
    await asyncio.wait(done)
    del done, read
    assert problems == []
