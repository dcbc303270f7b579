"""When the bridge is healthy and ready, and what it says of itself; also of a process that was frozen."""

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.observability.health import LAG_TOLD, LATE_TOLD, STUCK_AFTER, HealthInputs, evaluate
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer, config_tables, free_port, write_config
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.observability.samples import WELL

_PATIENCE = WELL.timeout + STUCK_AFTER


@pytest.mark.parametrize(
    ("vitals", "healthy", "ready", "words"),
    [
        pytest.param(WELL, True, True, [], id="all is well"),
        pytest.param(replace(WELL, quiet=0.0, connected=False), True, False, ["connecting"], id="at the start"),
        pytest.param(replace(WELL, quiet=86_400.0), True, True, [], id="nothing is due: long intervals, or backoff"),
        pytest.param(replace(WELL, quiet=86_400.0, stations=0), True, True, ["no station"], id="no stations"),
        pytest.param(replace(WELL, late=4.9), True, True, [], id="a little late"),
        pytest.param(replace(WELL, late=500.0), True, True, ["500 s late"], id="more due than may be asked"),
        pytest.param(replace(WELL, late=_PATIENCE, quiet=_PATIENCE), True, True, ["late"], id="at the limit"),
        pytest.param(
            replace(WELL, late=_PATIENCE + 1, quiet=_PATIENCE + 5),
            False,
            True,
            ["stuck: no poll ended for 75 s"],
            id="stuck",
        ),
        pytest.param(
            replace(WELL, late=1.0, quiet=4000.0), True, True, [], id="stations joined after long without any"
        ),
        pytest.param(
            replace(WELL, late=4000.0, quiet=1.0),
            True,
            True,
            ["4000 s late"],
            id="one that waits long while others end",
        ),
        pytest.param(
            replace(WELL, late=900.0, quiet=900.0, timeout=900.0),
            True,
            True,
            ["late"],
            id="requests that may take long",
        ),
        pytest.param(
            replace(WELL, longest=_PATIENCE + 1), False, True, ["under way for 71 s"], id="a request without end"
        ),
        pytest.param(
            replace(WELL, longest=_PATIENCE + 1, held=True),
            False,
            True,
            ["under way"],
            id="and the cloud asked to wait",
        ),
        pytest.param(replace(WELL, quiet=3000.0, held=True), True, True, ["asked to wait"], id="held by Retry-After"),
        pytest.param(replace(WELL, late=2.0, quiet=3602.0), True, True, [], id="just free again after an hour"),
        pytest.param(
            replace(WELL, lag=600.0, late=600.0, quiet=605.0),
            True,
            True,
            ["held up for 600.0 s"],
            id="woken from sleep",
        ),
        pytest.param(
            replace(WELL, lag=600.0, late=600.0 + _PATIENCE + 1, quiet=605.0 + _PATIENCE),
            False,
            True,
            ["stuck", "held up"],
            id="woken, and stuck since",
        ),
        pytest.param(
            replace(WELL, late=4000.0, quiet=99.0, pause=100.0), True, True, ["late"], id="one request in 100 s"
        ),
        pytest.param(replace(WELL, lag=1.5), True, True, ["held up for 1.5 s"], id="a slow callback"),
        pytest.param(
            replace(WELL, connected=False, trouble="connection refused"),
            True,
            False,
            ["no connection to the broker: connection refused"],
            id="the broker is away",
        ),
        pytest.param(
            replace(WELL, late=99.0, quiet=99.0, lag=2.0, connected=False, trouble="it broke off"),
            False,
            False,
            ["stuck", "held up", "it broke off"],
            id="everything at once",
        ),
    ],
)
def test_health(vitals: HealthInputs, healthy: bool, ready: bool, words: list[str]) -> None:
    health = evaluate(vitals)
    assert (health.healthy, health.ready) == (healthy, ready)
    assert len(health.words) == len(words)
    for said, wanted in zip(health.words, words, strict=True):
        assert wanted in said


_seconds = st.floats(0, 1e6)


@given(
    st.builds(
        HealthInputs,
        lag=_seconds,
        late=_seconds,
        quiet=_seconds,
        timeout=st.floats(0.1, 120),
        held=st.booleans(),
        connected=st.booleans(),
        trouble=st.sampled_from(["", "connection refused"]),
        stations=st.integers(0, 3),
        longest=_seconds,
        pause=st.floats(0, 1e3),
    )
)
def test_whatever_is_not_well_is_said_in_one_line_each(vitals: HealthInputs) -> None:
    health = evaluate(vitals)
    assert health.ready == vitals.connected
    if not (health.healthy and health.ready):
        assert health.words
    if not health.words:
        assert vitals.lag <= LAG_TOLD
        assert min(vitals.late, vitals.late - vitals.lag) <= LATE_TOLD
    assert all(word and "\n" not in word for word in health.words)
    # It never depends on how late polls are alone: a bridge that does more than it can is not restarted for it.
    assert evaluate(replace(vitals, quiet=0.0, longest=0.0)).healthy


class _Probe:
    """Asks a bridge how it is."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def __call__(self, path: str, timeout: float = 10) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self._base + path, timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until(self, path: str, status: int, words: str) -> str:
        """The answer, once it has this status and these words in it."""
        deadline = time.monotonic() + 20
        while True:
            answer = self(path)
            if answer[0] == status and words in answer[1]:
                return answer[1]
            assert time.monotonic() < deadline, f"{path} answers {answer}"
            time.sleep(0.05)  # nothing tells when an answer will be another


@pytest.fixture
def probe(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Callable[..., BridgeProcess],
) -> tuple[BridgeProcess, _Probe]:
    """A bridge that is online, and how it is asked."""
    port = free_port()
    cloud.answer(EXAMPLE_EVSE, status_example())
    tables = config_tables(broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "port": port})
    process = bridge_process(write_config(tmp_path / "config.toml", tables))
    observer.wait_for("evse/bridge/availability", "online")
    return process, _Probe(port)


def test_a_frozen_bridge_answers_nothing_and_then_says_that_it_was_held_up(
    probe: tuple[BridgeProcess, _Probe], cloud: CloudServer
) -> None:
    process, ask = probe
    ask.until("/healthz", 200, "")
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        ask("/healthz", timeout=2.5)
    process.send_signal(signal.SIGCONT)
    said = ask.until("/healthz", 200, "held up")
    assert 1.9 < float(said.split("held up for ")[1].split(" s")[0]) < 20
    asked = len(cloud.requests)
    cloud.wait_for_requests(asked + 2)


def test_a_broker_that_goes_makes_it_unready_and_no_less_healthy(
    probe: tuple[BridgeProcess, _Probe], broker: Mosquitto
) -> None:
    _, ask = probe
    ask.until("/readyz", 200, "")
    broker.stop()
    said = ask.until("/readyz", 503, "no connection to the broker: ")
    assert ask.until("/healthz", 200, "no connection to the broker: ").splitlines()[-1:] == said.splitlines()[-1:]
    broker.start()
    assert "broker" not in ask.until("/readyz", 200, "")
