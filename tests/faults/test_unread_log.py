"""Nobody reads the log of the bridge: it polls, publishes and stops as usual."""

import subprocess
import sys
from pathlib import Path

from tests.faults.setup import AVAILABILITY, configure, station_answer, uuid_of, wait_until_up
from tests.harness import Answer, CloudServer, Mosquitto, Observer
from tests.harness.bridge import clean_environment
from tests.harness.pipes import StuckPipe


def test_unread_log_delays_neither_polls_nor_shutdown(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    cloud.answer(uuid_of(0), station_answer(0))
    cloud.answer(uuid_of(1), Answer(status=503))  # each poll leaves a line
    config = configure(tmp_path, broker, cloud, 2)
    with StuckPipe() as pipe:
        command = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", str(config)]
        pipe.read(pipe.filled)
        with subprocess.Popen(command, stderr=pipe.writable, env=clean_environment()) as bridge:
            try:
                wait_until_up(observer, 0)
                pipe.fill()
                cloud.wait_for_requests(len(cloud.requests_of(uuid_of(1))) + 1, uuid_of(1))
                cloud.wait_for_requests(len(cloud.requests_of(uuid_of(0))) + 3, uuid_of(0))
                bridge.terminate()
                assert bridge.wait(5) == 0
            finally:
                bridge.kill()
    observer.wait_for(AVAILABILITY, "offline")


def test_log_that_is_read_again_has_every_line(
    tmp_path: Path, cloud: CloudServer, broker: Mosquitto, observer: Observer
) -> None:
    cloud.answer(uuid_of(0), Answer(status=503))
    config = configure(tmp_path, broker, cloud)
    with StuckPipe() as pipe:
        command = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", str(config)]
        with subprocess.Popen(command, stderr=pipe.writable, env=clean_environment()) as bridge:
            try:
                wait_until_up(observer)
                cloud.wait_for_requests(3)
                bridge.terminate()
                log = pipe.read(pipe.filled)
                assert bridge.wait(5) == 0
            finally:
                bridge.kill()
        log += pipe.read(100_000)
    text = log.decode()
    assert "evse-mqtt-bridge started" in text
    assert text.count('"event": "poll_failed"') >= 2
    assert text.splitlines()[-1].endswith('"event": "bridge_stopped"}')
