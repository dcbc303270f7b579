"""The fault contract with thousands of stations: some fail in each way, the cloud goes, the broker goes, all return.

What must hold: who fails is told, with the right reason, and nobody else; the others keep their cadence; requests, log
lines and memory stay bounded; in the end the broker retains the whole picture and nothing else.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.bridge import Bridge, availability_topics, retained_topics, topics_of, watch_availability
from benchmarks.cadence import cadence, polls
from benchmarks.cloud import DisconnectReason, uuid_of
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.subscriber import Subscriber

__all__ = ["faults"]

_INTERVAL = 10.0
_WITHOUT_BROKER = 15.0

_REASONS = {
    DisconnectReason.SERVER_ERROR: "server_error",
    DisconnectReason.WEB_PAGE: "invalid_response",
    DisconnectReason.CUT_OFF: "invalid_response",
    DisconnectReason.UNAUTHORIZED: "unauthorized",
    DisconnectReason.NOT_FOUND: "not_found",
    DisconnectReason.CLOSED: "unreachable",
}
_GROUPS = {trouble: format(number, "x") for number, trouble in enumerate(_REASONS)}
"""One station of 16 for each trouble, by the last digit of its uuid."""

_REJECTED = frozenset({DisconnectReason.UNAUTHORIZED, DisconnectReason.NOT_FOUND})
"""These are looked at every 15 minutes only, so they do not come back within the measurement."""

Row = tuple[str, ...]


def faults(effort: Effort) -> Iterator[Table]:
    """With `effort.crowd` stations at 10 s."""
    count = effort.crowd
    print(f"faults: {count} stations")
    stations = range(count)
    rows: list[Row] = []
    with Rig(changing=0.1, log=True) as rig, Bridge(rig, Settings(interval=_INTERVAL), stations) as bridge:
        with Subscriber(rig.broker.port, "evse/+/availability_reason") as reasons:
            course = _Course(rig, bridge, reasons, stations)
            for step in (course.start, course.some_fail, course.most_mend, course.cloud_goes, course.cloud_returns):
                rows.append(step())
                print(f"faults: {rows[-1][0]}: {rows[-1][1]}")
        rows.append(course.broker_forgets())
    columns = (f"with {count:,} stations at 10 s", "seen", "wrong topics", "RSS MB", "open files", "log lines so far")
    yield Table("faults", columns, tuple(rows))


@dataclass(slots=True)
class _Course:
    """The steps, in order; each returns its row. `wanted` is the reason that each station should have, by uuid."""

    rig: Rig
    bridge: Bridge
    reasons: Subscriber
    stations: range
    wanted: dict[str, str] = field(default_factory=dict)

    def start(self) -> Row:
        """All stations answer."""
        self.wanted = {uuid_of(number): "online" for number in self.stations}
        seconds = self._told()
        self.rig.broker.wait_for_retained(len(topics_of(self.stations)), self._patience)
        time.sleep(1.5 * _INTERVAL)  # until the stations are on their grid
        return self._row("nothing", f"all online after {seconds:.0f} s")

    def some_fail(self) -> Row:
        """One group in each way; the others must not notice."""
        began = time.time()
        for trouble, group in _GROUPS.items():
            self.rig.cloud.give(trouble, group)
            self._want(_REASONS[trouble], group)
        failing = {uuid for uuid, reason in self.wanted.items() if reason != "online"}
        seconds = self._told()
        asked = polls(self.rig.cloud.polls_log, began)
        others = cadence(asked, _INTERVAL, without=failing)
        rejected = max(len(asked[uuid]) for uuid in failing if self.wanted[uuid] in ("unauthorized", "not_found"))
        found = (
            f"each has its reason after {seconds:.0f} s; of the others' polls {others.within:.2%} within 5 % of their "
            f"time, the worst {others.worst:.1%} off; those rejected were asked {rejected} time(s)"
        )
        return self._row(f"{len(_GROUPS)} of 16 stations fail, in six ways", found)

    def most_mend(self) -> Row:
        """Those that are not only probed come back by themselves."""
        for trouble in _GROUPS.keys() - _REJECTED:
            self.rig.cloud.mend(trouble, _GROUPS[trouble])
            self._want("online", _GROUPS[trouble])
        return self._row("four of the ways are over", f"those stations are back after {self._told():.0f} s")

    def cloud_goes(self) -> Row:
        """Connections are refused."""
        self.rig.cloud.stop()
        online = self.wanted
        self.wanted = {uuid: "unreachable" if reason == "online" else reason for uuid, reason in online.items()}
        row = self._row("the cloud refuses connections", f"told of every station after {self._told():.0f} s")
        self.wanted = online
        return row

    def cloud_returns(self) -> Row:
        """All come back by themselves."""
        self.rig.cloud.start()
        return self._row("the cloud is back", f"the last station is back after {self._told():.0f} s")

    def broker_forgets(self) -> Row:
        """It is away, and comes back with nothing retained."""
        self.rig.broker.stop()
        time.sleep(_WITHOUT_BROKER)
        self.rig.broker.start()
        began = time.monotonic()
        topics, wanted = availability_topics(self.stations), topics_of(self.stations)
        with watch_availability(self.rig) as watching:
            watching.wait(lambda latest: latest.keys() == topics, self._patience, "the whole picture")
        self.rig.broker.wait_for_retained(len(wanted), self._patience)
        seconds = time.monotonic() - began
        wrong = wanted ^ retained_topics(self.rig, len(wanted), self._patience)
        found = f"all of {len(wanted):,} topics are there {seconds:.0f} s after its return"
        return self._row(f"the broker is away for {_WITHOUT_BROKER:.0f} s and forgets", found, len(wrong))

    @property
    def _patience(self) -> float:
        return 300 + len(self.stations) / 25

    def _want(self, reason: str, group: str) -> None:
        self.wanted.update((uuid, reason) for uuid in self.wanted if uuid.endswith(group))

    def _told(self) -> float:
        """Seconds until every station's reason is the one it should be."""
        return self.reasons.wait(lambda latest: not _wrong(latest, self.wanted), self._patience, "every reason")

    def _row(self, fault: str, found: str, wrong: int | None = None) -> Row:
        if wrong is None:
            wrong = _wrong(self.reasons.snapshot(), self.wanted)
        used, lines = self.bridge.usage, self.bridge.lines("\n")
        return fault, found, f"{wrong:,}", f"{used.memory / 2**20:.0f}", str(used.files), f"{lines:,}"


def _wrong(latest: Mapping[str, bytes], wanted: Mapping[str, str]) -> int:
    """How many stations' reasons are not what they should be."""
    return sum(
        1 for uuid, reason in wanted.items() if latest.get(f"evse/{uuid}/availability_reason") != reason.encode()
    )
