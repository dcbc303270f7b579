"""Fixtures for tests of the client on both transports, and a watch over what they say."""

import logging
import traceback
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from evse_mqtt_bridge.cloud import errors as failures
from evse_mqtt_bridge.domain.model import Failure
from tests.cloud.fetching import TOKEN
from tests.cloud.loops import TRANSPORT, Loop
from tests.harness.misbehaving_server import MisbehavingServer


@pytest.fixture
def _nobody_sees_the_token(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No exception on the way and no log line of any library has the token in it."""
    caplog.set_level(logging.DEBUG)
    errors: list[Exception] = []
    translate = failures.of_error

    def of_error(error: Exception, *, is_answering: bool = False) -> Failure:
        errors.append(error)
        return translate(error, is_answering=is_answering)

    monkeypatch.setattr(failures, "of_error", of_error)
    yield
    assert TOKEN not in caplog.text
    for error in errors:
        assert TOKEN not in "".join(traceback.format_exception(error))


@pytest.fixture(params=["libcurl", "httpx"])
def transport(request: pytest.FixtureRequest) -> Iterator[str]:
    """The transport that the settings of a test name."""
    name: str = request.param
    if name == "libcurl" and find_spec("pycurl") is None:
        pytest.skip("pycurl is not installed")
    token = TRANSPORT.set(name)
    yield name
    TRANSPORT.reset(token)


@pytest.fixture
def run(_nobody_sees_the_token: None, transport: str) -> Loop:
    """Runs a coroutine on an event loop of its own, on which requests are carried by `transport`."""
    return Loop(transport)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """A running server whose answers a test controls down to the byte."""
    with MisbehavingServer() as server:
        yield server
