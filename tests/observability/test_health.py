"""Liveness, readiness and their messages, also of a process that was frozen."""

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

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.observability.health import (
    LAG_THRESHOLD,
    POLL_DELAY_THRESHOLD,
    STUCK_AFTER,
    HealthInputs,
    evaluate,
)
from tests.harness import (
    BridgeProcess,
    CloudServer,
    Mosquitto,
    Observer,
    config_tables,
    free_port,
    run_command,
    write_config,
)
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.observability.samples import HEALTHY

_LIMIT = HEALTHY.request_timeout + STUCK_AFTER


@pytest.mark.parametrize(
    ("inputs", "healthy", "ready", "messages"),
    [
        pytest.param(HEALTHY, True, True, [], id="healthy"),
        pytest.param(
            replace(HEALTHY, since_last_poll=0.0, connected=False), True, False, ["connecting"], id="at the start"
        ),
        pytest.param(
            replace(HEALTHY, since_last_poll=86_400.0), True, True, [], id="nothing due: long intervals or backoff"
        ),
        pytest.param(
            replace(HEALTHY, since_last_poll=86_400.0, stations=0), True, True, ["no station"], id="no stations"
        ),
        pytest.param(replace(HEALTHY, stations=0, is_member=True), True, True, [], id="a member without shards"),
        pytest.param(
            replace(HEALTHY, fleet_problem="etcd does not answer"), True, True, ["etcd does not answer"], id="no engine"
        ),
        pytest.param(
            replace(HEALTHY, stations=0, is_member=True, fleet_problem="etcd does not answer", connected=False),
            True,
            False,
            ["no connection to the broker yet", "etcd does not answer"],
            id="a member that waits for the engine",
        ),
        pytest.param(replace(HEALTHY, poll_delay=4.9), True, True, [], id="a little late"),
        pytest.param(
            replace(HEALTHY, poll_delay=500.0), True, True, ["500 s late"], id="more polls due than the limits allow"
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=_LIMIT, since_last_poll=_LIMIT), True, True, ["late"], id="at the limit"
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=_LIMIT + 1, since_last_poll=_LIMIT + 5),
            False,
            True,
            ["none has completed for 75 s"],
            id="stuck",
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=1.0, since_last_poll=4000.0),
            True,
            True,
            [],
            id="stations added after a long time without any",
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=4000.0, since_last_poll=1.0),
            True,
            True,
            ["4000 s late"],
            id="one poll waits while others complete",
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=900.0, since_last_poll=900.0, request_timeout=900.0),
            True,
            True,
            ["late"],
            id="long request timeout",
        ),
        pytest.param(
            replace(HEALTHY, longest_request=_LIMIT + 1), False, True, ["in progress for 71 s"], id="endless request"
        ),
        pytest.param(
            replace(HEALTHY, longest_request=_LIMIT + 1, on_hold=True),
            False,
            True,
            ["in progress"],
            id="endless request, on hold",
        ),
        pytest.param(
            replace(HEALTHY, since_last_poll=3000.0, on_hold=True), True, True, ["rate limited"], id="on hold"
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=2.0, since_last_poll=3602.0), True, True, [], id="just released after an hour"
        ),
        pytest.param(
            replace(HEALTHY, loop_lag=600.0, poll_delay=600.0, since_last_poll=605.0),
            True,
            True,
            ["blocked for 600.0 s"],
            id="resumed from sleep",
        ),
        pytest.param(
            replace(HEALTHY, loop_lag=600.0, poll_delay=600.0 + _LIMIT + 1, since_last_poll=605.0 + _LIMIT),
            False,
            True,
            ["stuck", "blocked for"],
            id="resumed from sleep and stuck since",
        ),
        pytest.param(
            replace(HEALTHY, poll_delay=4000.0, since_last_poll=99.0, request_spacing=100.0),
            True,
            True,
            ["late"],
            id="one request in 100 s",
        ),
        pytest.param(replace(HEALTHY, loop_lag=1.5), True, True, ["blocked for 1.5 s"], id="a slow callback"),
        pytest.param(
            replace(HEALTHY, connected=False, broker_error="connection refused"),
            True,
            False,
            ["no connection to the broker: connection refused"],
            id="broker disconnected",
        ),
        pytest.param(
            replace(
                HEALTHY,
                poll_delay=99.0,
                since_last_poll=99.0,
                loop_lag=2.0,
                connected=False,
                broker_error="it broke off",
            ),
            False,
            False,
            ["stuck", "blocked for", "it broke off"],
            id="several problems",
        ),
        pytest.param(
            replace(HEALTHY, stations=20, unavailable={Reason.UNREACHABLE: 2, Reason.UNAUTHORIZED: 11}),
            True,
            True,
            ["13 of 20 stations unavailable: 11 unauthorized, 2 unreachable"],
            id="stations unavailable",
        ),
        pytest.param(
            replace(HEALTHY, rejected_messages=73), True, True, ["rejected 73 messages: check"], id="messages rejected"
        ),
        pytest.param(
            replace(HEALTHY, rejected_messages=1), True, True, ["rejected 1 message: check"], id="one message rejected"
        ),
        pytest.param(
            replace(HEALTHY, reload_rejected=True), True, True, ["the last reload was rejected"], id="reload rejected"
        ),
    ],
)
def test_health_of_inputs(inputs: HealthInputs, healthy: bool, ready: bool, messages: list[str]) -> None:
    health = evaluate(inputs)
    assert (health.healthy, health.ready) == (healthy, ready)
    assert len(health.messages) == len(messages)
    for message, expected in zip(health.messages, messages, strict=True):
        assert expected in message


_seconds = st.floats(0, 1e6)


@given(
    st.builds(
        HealthInputs,
        loop_lag=_seconds,
        poll_delay=_seconds,
        since_last_poll=_seconds,
        request_timeout=st.floats(0.1, 120),
        on_hold=st.booleans(),
        connected=st.booleans(),
        broker_error=st.sampled_from(["", "connection refused"]),
        stations=st.integers(0, 3),
        longest_request=_seconds,
        request_spacing=st.floats(0, 1e3),
        unavailable=st.dictionaries(st.sampled_from(STATION_REASONS), st.integers(0, 3)),
        rejected_messages=st.integers(0, 3),
        reload_rejected=st.booleans(),
    )
)
def test_health_problem_has_a_message_of_one_line(inputs: HealthInputs) -> None:
    health = evaluate(inputs)
    assert health.ready == inputs.connected
    if not (health.healthy and health.ready):
        assert health.messages
    if not health.messages:
        assert inputs.loop_lag <= LAG_THRESHOLD
        assert min(inputs.poll_delay, inputs.poll_delay - inputs.loop_lag) <= POLL_DELAY_THRESHOLD
    assert all(message and "\n" not in message for message in health.messages)
    # Lateness alone is never unhealthy: a restart does not help a bridge that has more to poll than its limits allow.
    assert evaluate(replace(inputs, since_last_poll=0.0, longest_request=0.0)).healthy


class _Probe:
    """Requests the health endpoints of a bridge."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def get(self, path: str, timeout: float = 10) -> tuple[int, str]:
        """Return the status and the text of the response."""
        try:
            with urllib.request.urlopen(self._base + path, timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_for(self, path: str, status: int, part: str = "") -> str:
        """Return the text of the response once it has this status and contains `part`."""
        deadline = time.monotonic() + 20
        while True:
            answer = self.get(path)
            if answer[0] == status and part in answer[1]:
                return answer[1]
            assert time.monotonic() < deadline, f"{path} answers {answer}"
            time.sleep(0.05)  # there is no notification of a change


@pytest.fixture(name="online_bridge")
def _online_bridge(
    tmp_path: Path,
    broker: Mosquitto,
    cloud: CloudServer,
    observer: Observer,
    bridge_process: Callable[..., BridgeProcess],
) -> tuple[BridgeProcess, _Probe]:
    """Return a bridge that is connected to the broker, and a probe of it."""
    port = free_port()
    cloud.answer(EXAMPLE_EVSE, status_example())
    tables = config_tables(broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "port": port})
    process = bridge_process(write_config(tmp_path / "config.toml", tables))
    observer.wait_for("evse/bridge/availability", "online")
    return process, _Probe(port)


def test_frozen_bridge_reports_the_lag_afterwards(
    online_bridge: tuple[BridgeProcess, _Probe], cloud: CloudServer
) -> None:
    process, probe = online_bridge
    probe.wait_for("/healthz", 200)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        probe.get("/healthz", timeout=2.5)
    process.send_signal(signal.SIGCONT)
    text = probe.wait_for("/healthz", 200, "blocked for")
    assert 1.9 < float(text.split("blocked for ")[1].split(" s")[0]) < 20
    cloud.wait_for_requests(len(cloud.requests) + 2)


def test_bridge_without_broker_is_unready_but_healthy(
    online_bridge: tuple[BridgeProcess, _Probe], broker: Mosquitto
) -> None:
    _, probe = online_bridge
    probe.wait_for("/readyz", 200)
    broker.stop()
    text = probe.wait_for("/readyz", 503, "no connection to the broker: ")
    healthy_text = probe.wait_for("/healthz", 200, "no connection to the broker: ")
    assert healthy_text.splitlines()[-1:] == text.splitlines()[-1:]
    broker.start()
    assert "broker" not in probe.wait_for("/readyz", 200)


def test_healthy_bridge_names_what_is_wrong(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, bridge_process: Callable[..., BridgeProcess]
) -> None:
    port = free_port()
    cloud.answer(EXAMPLE_EVSE, b"", status=503)
    tables = config_tables(broker, cloud, polling={"offline_after": 1}, http={"enabled": True, "port": port})
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    bridge.wait_for_line("status page available")
    probe = _Probe(port)
    assert probe.wait_for("/readyz", 200, "1 of 1 stations unavailable: 1 server_error")
    config.write_text("[mqtt]\nhots = 1\n")
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("reload failed")
    write_config(config, tables)
    for command in ("health", "status"):
        result = run_command(command, "--config", config)
        assert (result.returncode, "all is well" in result.stdout) == (0, False)
        assert "1 of 1 stations unavailable" in result.stdout.splitlines()[0]
        assert "the last reload was rejected" in result.stdout
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    assert "reload" not in probe.get("/healthz")[1]


def test_healthy_bridge_names_rejected_messages(
    tmp_path: Path, cloud: CloudServer, bridge_process: Callable[..., BridgeProcess]
) -> None:
    port = free_port()
    cloud.answer(EXAMPLE_EVSE, status_example())
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite #\ntopic deny evse/+/+/power\n")
    with Mosquitto(tmp_path / "broker", extra=[f"acl_file {rules}"]) as broker:
        tables = config_tables(broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "port": port})
        bridge = bridge_process(write_config(tmp_path / "config.toml", tables))
        bridge.wait_for_line("status page available")
        assert _Probe(port).wait_for("/healthz", 200, "the broker rejected 2 messages: check its access rules")
