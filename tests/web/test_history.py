"""The routes of the history, over real sockets, with a SQLite file."""

import csv
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from multidict import MultiDict

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.storage.records import Plug
from evse_mqtt_bridge.storage.report_request import (
    Grouping,
    ReportFormat,
    ReportKind,
    ReportRequest,
    ReportRequestError,
)
from evse_mqtt_bridge.web.history import report_request
from tests.harness.net import HOST
from tests.web.history_samples import history_settings, write_history
from tests.web.served_bridge import ServerThread, StubBridge, station, utc_now

PATHS = ["/api/history", "/api/energy", "/api/energy.csv", "/api/sessions", "/api/sessions.csv"]
_PLUG = Plug(station(1).uuid, "0f" * 16)


@pytest.fixture
def history(tmp_path: Path) -> History:
    settings = history_settings(tmp_path)
    write_history(settings, _PLUG, 100, utc_now())
    write_history(settings, Plug(station(2).uuid, "0f" * 16), 10, utc_now(), ("Station 2", "=1+1"))
    return settings


@pytest.fixture
def server(history: History) -> Iterator[ServerThread]:
    with ServerThread(StubBridge([station(1), station(2)], energy_history=history)) as server:
        yield server


def _request(
    server: ServerThread, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read().decode()
    finally:
        connection.close()


def test_overview_sums_day_and_month(server: ServerThread) -> None:
    response, body = _request(server, "/api/history")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    content = json.loads(body)
    assert content["enabled"]
    assert not content["error"]
    assert content["time_zone"] == "UTC"
    assert content["day"] == f"{utc_now():%Y-%m-%d}"
    assert content["today"] == {"energy": 20.0, "energy_discharged": 0.0, "energy_gap": 0}
    assert content["month"]["energy"] >= 20.0


def test_energy_of_a_plug_lists_its_days(server: ServerThread) -> None:
    query = f"by=day&station={_PLUG.station}&plug={_PLUG.uuid}"
    response, body = _request(server, f"/api/energy?{query}")
    assert response.headers["Content-Type"] == "application/json"
    days = json.loads(body)
    assert len(days) == 16  # each second of today and 30 days before
    assert days[-1] == {"day": f"{utc_now():%Y-%m-%d}", "energy": 10.0, "energy_discharged": 0.0, "energy_gap": 0}


def test_sessions_are_limited_and_the_latest_first(server: ServerThread) -> None:
    sessions = json.loads(_request(server, f"/api/sessions?station={_PLUG.station}&since=2000-01-01&limit=3")[1])
    assert len(sessions) == 3
    assert sessions[0]["ended"] > sessions[1]["ended"] > sessions[2]["ended"]
    assert not sessions[0]["started_known"]
    assert sessions[1]["energy"] == 10.0


def test_csv_is_a_download_with_the_same_rows(server: ServerThread) -> None:
    response, body = _request(server, "/api/sessions.csv?since=2000-01-01")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="evse-sessions.csv"'
    rows = list(csv.DictReader(io.StringIO(body)))
    objects = json.loads(_request(server, "/api/sessions?since=2000-01-01")[1])
    assert len(rows) == len(objects) == 51 + 6
    assert list(rows[0]) == list(objects[0])


def test_csv_has_no_formula(server: ServerThread) -> None:
    rows = list(csv.DictReader(io.StringIO(_request(server, "/api/energy.csv?by=plug")[1])))
    assert [row["plug_name"] for row in rows] == ["Left", "'=1+1"]


@pytest.mark.parametrize("path", PATHS)
def test_history_rejects_cross_site_requests(server: ServerThread, path: str) -> None:
    assert _request(server, path, **{"Sec-Fetch-Site": "cross-site"})[0].status == 403


@pytest.mark.parametrize("path", PATHS)
def test_history_rejects_foreign_host_header(server: ServerThread, path: str) -> None:
    assert _request(server, path, Host="evil.example")[0].status == 403


@pytest.mark.parametrize("path", PATHS)
def test_history_is_read_only_and_never_cached(server: ServerThread, path: str) -> None:
    assert _request(server, path, "POST")[0].status == 405
    response, body = _request(server, path, "HEAD")
    assert (response.status, body) == (200, "")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/energy?by=hour", 400, "by must be one of day, month, plug"),
        ("/api/energy?since=yesterday", 400, '"yesterday" is not a day such as'),
        ("/api/energy?until=9999-12-31T23:59:59-12:00", 400, "is not a day such as"),
        ("/api/energy?limit=1", 400, "unknown parameter; use by, plug, since, station, until"),
        ("/api/sessions?limit=0", 400, "limit must be a number from 1 to 10000"),
        ("/api/sessions?limit=1&limit=2", 400, "limit must be one text of at most 64 characters"),
        (f"/api/sessions?plug={'x' * 65}", 400, "plug must be one text of at most 64 characters"),
    ],
)
def test_history_rejects_invalid_parameters(server: ServerThread, path: str, status: int, text: str) -> None:
    response, body = _request(server, path)
    assert response.status == status
    assert text in body


def test_history_disabled_names_the_setting() -> None:
    with ServerThread(StubBridge([station(1)])) as server:
        response, body = _request(server, "/api/sessions")
        assert response.status == 503
        assert "history.enabled is false" in body
        assert json.loads(_request(server, "/api/history")[1]) == {
            "enabled": False,
            "error": "history.enabled is false, so no history is kept",
        }


def test_history_without_file_names_the_reason(tmp_path: Path) -> None:
    with ServerThread(StubBridge([station(1)], energy_history=history_settings(tmp_path / "none"))) as server:
        response, body = _request(server, "/api/sessions")
        assert response.status == 503
        assert response.headers["Retry-After"] == "10"
        assert "there is no history yet" in body
        assert not (tmp_path / "none").exists()


def test_history_without_time_zone_names_the_setting(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tzlocal.unix._cache_tz", None)
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    settings = history.model_copy(update={"time_zone": ""})
    with ServerThread(StubBridge([station(1)], energy_history=settings)) as server:
        response, body = _request(server, "/api/sessions")
        assert response.status == 503
        assert "history.time_zone" in body
        assert "history.time_zone" in json.loads(_request(server, "/api/history")[1])["error"]


def test_report_request_reads_every_parameter() -> None:
    query = MultiDict({"by": "plug", "since": "2026-01", "until": "2026-02", "station": "s", "plug": "p"})
    assert report_request(ReportKind.ENERGY, ReportFormat.CSV, query) == ReportRequest(
        ReportKind.ENERGY, ReportFormat.CSV, Grouping.PLUG, "2026-01", "2026-02", "s", "p", None
    )


@pytest.mark.parametrize("text", ["-1", "1e3", "²", "10001", "1 "])
def test_report_request_rejects_invalid_limit(text: str) -> None:
    with pytest.raises(ReportRequestError):
        report_request(ReportKind.SESSIONS, ReportFormat.JSON, MultiDict({"limit": text}))
