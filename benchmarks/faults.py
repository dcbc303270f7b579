"""The fault contract with thousands of stations: some fail in each way, the cloud stops, the broker restarts empty.

The expected behaviour: each failing station, and no other, is unavailable with the right reason; the others keep their
cadence; requests, log lines and memory stay bounded; at the end the broker retains every topic and no other.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.bridge import Bridge, availability_topics, retained_topics, topics_of, watch_availability
from benchmarks.cadence import cadence, polls
from benchmarks.cloud import StationFault, uuid_of
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.subscriber import Subscriber

__all__ = ["faults"]

_INTERVAL = 10.0
_WITHOUT_BROKER = 15.0

_REASONS = {
    StationFault.SERVER_ERROR: "server_error",
    StationFault.WEB_PAGE: "invalid_response",
    StationFault.TRUNCATED: "invalid_response",
    StationFault.UNAUTHORIZED: "unauthorized",
    StationFault.NOT_FOUND: "not_found",
    StationFault.CLOSED: "unreachable",
}
_GROUPS = {fault: format(number, "x") for number, fault in enumerate(_REASONS)}
"""The group of each fault: one station in 16, by the last digit of its uuid."""

_REJECTED = frozenset({StationFault.UNAUTHORIZED, StationFault.NOT_FOUND})
"""The bridge polls these stations at growing intervals, up to 15 minutes, so their faults do not end."""

Row = tuple[str, ...]


def faults(effort: Effort) -> Iterator[Table]:
    """Run the scenario with `effort.fault_stations` stations at an interval of 10 s."""
    count = effort.fault_stations
    print(f"faults: {count} stations")
    stations = range(count)
    rows: list[Row] = []
    with Rig(changing=0.1, log=True) as rig, Bridge(rig, Settings(interval=_INTERVAL), stations) as bridge:
        with Subscriber(rig.broker.port, "evse/+/availability_reason") as reasons:
            scenario = _Scenario(rig, bridge, reasons, stations)
            for step in (
                scenario.start,
                scenario.some_stations_fail,
                scenario.most_stations_recover,
                scenario.cloud_stops,
                scenario.cloud_returns,
            ):
                rows.append(step())
                print(f"faults: {rows[-1][0]}: {rows[-1][1]}")
        rows.append(scenario.broker_restarts_empty())
    columns = (f"with {count:,} stations at 10 s", "result", "wrong topics", "RSS MB", "open files", "log lines so far")
    yield Table("faults", columns, tuple(rows))


@dataclass(slots=True)
class _Scenario:
    """The steps in their order; each returns its row of the table.

    Attributes:
        rig: Cloud and broker.
        bridge: The bridge under measurement.
        reasons: Subscriber to the availability reasons of stations.
        stations: Numbers of the stations.
        expected: Expected availability reason by uuid.
    """

    rig: Rig
    bridge: Bridge
    reasons: Subscriber
    stations: range
    expected: dict[str, str] = field(default_factory=dict)

    def start(self) -> Row:
        """Wait until all stations are online."""
        self.expected = {uuid_of(number): "online" for number in self.stations}
        seconds = self._wait_for_reasons()
        self.rig.broker.wait_for_retained(len(topics_of(self.stations)), self._timeout)
        time.sleep(1.5 * _INTERVAL)  # until polls are evenly distributed
        return self._row("no fault", f"all online after {seconds:.0f} s")

    def some_stations_fail(self) -> Row:
        """Start each fault for one group; the other stations must not be affected."""
        began = time.time()
        for fault, group in _GROUPS.items():
            self.rig.cloud.start_fault(fault, group)
            self._expect(_REASONS[fault], group)
        failing = {uuid for uuid, reason in self.expected.items() if reason != "online"}
        seconds = self._wait_for_reasons()
        times = polls(self.rig.cloud.polls_log, began)
        others = cadence(times, _INTERVAL, without=failing)
        rejected = max(len(times[uuid]) for uuid in failing if self.expected[uuid] in ("unauthorized", "not_found"))
        result = (
            f"each has its reason after {seconds:.0f} s; of the others' polls {others.within:.2%} within 5 % of the "
            f"interval, worst deviation {others.worst:.1%}; rejected stations polled {rejected} time(s)"
        )
        return self._row(f"{len(_GROUPS)} of 16 stations fail, in six ways", result)

    def most_stations_recover(self) -> Row:
        """End the faults of all stations that are not rejected; they recover by themselves."""
        for fault in _GROUPS.keys() - _REJECTED:
            self.rig.cloud.end_fault(fault, _GROUPS[fault])
            self._expect("online", _GROUPS[fault])
        return self._row("four of the faults end", f"those stations are back after {self._wait_for_reasons():.0f} s")

    def cloud_stops(self) -> Row:
        """Stop the cloud, so that connections are refused."""
        self.rig.cloud.stop()
        online = self.expected
        self.expected = {uuid: "unreachable" if reason == "online" else reason for uuid, reason in online.items()}
        row = self._row(
            "the cloud refuses connections", f"every station unavailable after {self._wait_for_reasons():.0f} s"
        )
        self.expected = online
        return row

    def cloud_returns(self) -> Row:
        """Start the cloud; all stations recover by themselves."""
        self.rig.cloud.start()
        return self._row("the cloud is back", f"the last station is back after {self._wait_for_reasons():.0f} s")

    def broker_restarts_empty(self) -> Row:
        """Stop the broker for a while and start it without retained messages."""
        self.rig.broker.stop()
        time.sleep(_WITHOUT_BROKER)
        self.rig.broker.start()
        began = time.monotonic()
        topics, expected = availability_topics(self.stations), topics_of(self.stations)
        with watch_availability(self.rig) as subscriber:
            subscriber.wait(lambda latest: latest.keys() == topics, self._timeout, "every availability topic")
        self.rig.broker.wait_for_retained(len(expected), self._timeout)
        seconds = time.monotonic() - began
        wrong = expected ^ retained_topics(self.rig, len(expected), self._timeout)
        result = f"all {len(expected):,} topics republished {seconds:.0f} s after the restart"
        return self._row(f"the broker is down for {_WITHOUT_BROKER:.0f} s and restarts empty", result, len(wrong))

    @property
    def _timeout(self) -> float:
        return 300 + len(self.stations) / 25

    def _expect(self, reason: str, group: str) -> None:
        self.expected.update((uuid, reason) for uuid in self.expected if uuid.endswith(group))

    def _wait_for_reasons(self) -> float:
        """Wait until every station has the expected reason and return how long that took, in seconds."""
        return self.reasons.wait(lambda latest: not _wrong(latest, self.expected), self._timeout, "every reason")

    def _row(self, fault: str, result: str, wrong: int | None = None) -> Row:
        if wrong is None:
            wrong = _wrong(self.reasons.snapshot(), self.expected)
        used, lines = self.bridge.usage, self.bridge.lines("\n")
        return fault, result, f"{wrong:,}", f"{used.memory / 2**20:.0f}", str(used.files), f"{lines:,}"


def _wrong(latest: Mapping[str, bytes], expected: Mapping[str, str]) -> int:
    """Return the number of stations whose reason is not the expected one."""
    return sum(
        1 for uuid, reason in expected.items() if latest.get(f"evse/{uuid}/availability_reason") != reason.encode()
    )
