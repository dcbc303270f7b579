"""Fixtures for tests of the client on every transport, and a check that no log line contains a token."""

import logging
import traceback
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from evse_mqtt_bridge.cloud import errors
from evse_mqtt_bridge.domain.model import Failure
from tests.cloud.clients import TOKEN, Clients
from tests.harness.misbehaving_server import MisbehavingServer


@pytest.fixture
def _token_stays_secret(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if the token is in a log line of any library, or in an exception that the client translates."""
    caplog.set_level(logging.DEBUG)
    translated: list[Exception] = []
    of_error = errors.of_error

    def recording_of_error(error: Exception, *, is_answering: bool = False) -> Failure:
        translated.append(error)
        return of_error(error, is_answering=is_answering)

    monkeypatch.setattr(errors, "of_error", recording_of_error)
    yield
    assert TOKEN not in caplog.text
    for error in translated:
        assert TOKEN not in "".join(traceback.format_exception(error))


@pytest.fixture(params=["libcurl", "httpx"])
def clients(request: pytest.FixtureRequest, _token_stays_secret: None) -> Clients:
    """Clients with each transport that the settings can select."""
    if request.param == "libcurl" and find_spec("pycurl") is None:
        pytest.skip("pycurl is not installed")
    return Clients(request.param)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """A running server whose responses a test controls down to the byte."""
    with MisbehavingServer() as server:
        yield server
