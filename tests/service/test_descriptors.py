"""File descriptors are divided so that no part of the bridge takes those that another part needs."""

import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.service.descriptors import Budget
from evse_mqtt_bridge.web.limits import ConnectionLimits
from tests.faults.setup import configure, log_entries, station_answer, uuid_of, wait_for_event, wait_until_up
from tests.harness import Answer, BridgeProcess, CloudServer, Mosquitto, Observer


def _config(max_concurrency: int) -> Config:
    return Config.model_validate({"mqtt": {"host": "broker.test"}, "cloud": {"max_concurrency": max_concurrency}})


@given(st.integers(0, 10_000))
def test_parts_fit_into_the_limit(limit: int) -> None:
    budget = Budget.of(limit)
    used = budget.requests + budget.page.connections + budget.page.backlog
    assert min(budget.requests, budget.page.connections, budget.page.backlog) >= 1
    assert used <= max(3, limit - 32)


@pytest.mark.parametrize(("limit", "requests"), [(0, 1), (64, 22), (256, 150), (1024, 792), (4096, 3864)])
def test_requests_get_what_the_page_leaves(limit: int, requests: int) -> None:
    assert Budget.of(limit).requests == requests


@pytest.mark.parametrize(
    ("limit", "concurrency", "applied", "is_short"),
    [(4096, 1000, 1000, False), (1024, 20, 20, False), (1024, 1000, 792, True), (64, 20, 20, True), (64, 50, 22, True)],
)
def test_budget_bounds_concurrency(limit: int, concurrency: int, applied: int, *, is_short: bool) -> None:
    config = _config(concurrency)
    budget = Budget.of(limit)
    assert budget.apply(config).cloud.max_concurrency == applied
    assert budget.is_short(config) is is_short
    assert budget.apply(config).mqtt == config.mqtt


def test_high_limit_leaves_the_page_as_it_is() -> None:
    assert Budget.of(1024).page == ConnectionLimits()


def test_lowest_sufficient_limit_is_documented() -> None:
    config = _config(20)
    lowest = next(limit for limit in range(4096) if not Budget.of(limit).is_short(config))
    page = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    assert f"less than {lowest}, or less than `cloud.max_concurrency` needs" in page


def _limits(folder: Path, soft: int, hard: int) -> dict[str, str]:
    """Return an environment in which Python starts with these limits of open files."""
    (folder / "sitecustomize.py").write_text(
        f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    )
    return {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}


def test_few_descriptors_make_no_station_unreachable(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer
) -> None:
    stations = range(100)
    for number in stations:
        cloud.answer(uuid_of(number), Answer(station_answer(number), delay=0.2))
    limits = {"max_concurrency": 200, "max_requests_per_second": 0}
    config = configure(tmp_path, broker, cloud, len(stations), cloud=limits, polling={"interval": 30})
    with BridgeProcess.run(config, env=_limits(tmp_path, 64, 64)) as bridge:
        wait_until_up(observer, *stations)
        bridge.stop()
        (line,) = log_entries(bridge, "few_file_descriptors")
        assert (line["limit"], line["requests"], line["level"]) == (64, 22, "warning")
        assert not log_entries(bridge, "poll_failed", "station_unavailable", "event_loop_error")


def test_soft_limit_is_raised_to_the_hard_one(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer
) -> None:
    hard = min(2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    config = configure(tmp_path, broker, cloud)
    with BridgeProcess.run(config, env=_limits(tmp_path, 64, hard)) as bridge:
        wait_until_up(observer)
        assert resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        assert not log_entries(bridge, "few_file_descriptors")


def test_reload_with_more_requests_than_descriptors_is_bounded(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer, observer: Observer
) -> None:
    config = configure(tmp_path, broker, cloud)
    with BridgeProcess.run(config, env=_limits(tmp_path, 256, 256)) as bridge:
        wait_until_up(observer)
        assert len(log_entries(bridge, "few_file_descriptors")) == 0
        configure(tmp_path, broker, cloud, cloud={"max_concurrency": 900})
        bridge.send_signal(signal.SIGHUP)
        wait_for_event(bridge, "configuration_applied")
        (line,) = log_entries(bridge, "few_file_descriptors")
        assert line["requests"] == 150
