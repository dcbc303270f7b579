"""Rendering of snapshots: heading, listing, and fitting the height of a window."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from evse_mqtt_bridge.cli.common.columns import UNLIMITED
from evse_mqtt_bridge.cli.common.render import fit_height, heading, listing
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.fleet_snapshot import FleetMemberSnapshot, FleetSnapshot
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS, WAITING_TEXT
from evse_mqtt_bridge.observability.snapshot import (
    Health,
    PlugSnapshot,
    Snapshot,
)
from tests.cli.snapshots import AT, OFFLINE, REJECTED, SITE, plug, snapshot, station


def _text(shown: Snapshot, width: int, *, worst_first: bool = False) -> list[str]:
    return [line.text.plain.rstrip() for line in listing(shown, width, worst_first=worst_first)]


def test_listing_80_columns_nests_plugs_below_stations() -> None:
    assert _text(snapshot(*SITE), 80) == [
        "STATION / PLUG  STATUS     POWER  L1 / L2 / L3          LIMIT   AGE",
        "Garage north",
        "  Left          charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "  Right         idle         0 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "Garage south",
        "    the cloud rejects the token (for 2 h 05 min)",
        "    last error 12 s ago: HTTP 401 Unauthorized: the token was rejected",
        "    next poll in 14 min",
        "  Left          charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "  Right         charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "Yard, Plug 1    offline   7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s",
        "    the plug is offline (for 40 s)",
        "Attic",
        "    has not answered yet",
    ]


def test_listing_wide_terminal_is_one_table() -> None:
    assert _text(snapshot(*SITE), 160) == [
        "STATION       PLUG    STATUS     POWER  L1 / L2 / L3          LIMIT   AGE  AVAILABILITY",
        "Garage north  Left    charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s  online (for 2 h 05 min)",
        "Garage north  Right   idle         0 W  10.3 / 10.3 / 10.3 A   12 A  12 s  online (for 2 h 05 min)",
        (
            "Garage south  Left    charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s  the cloud rejects the token "
            "(for 2 h 05 min); last error 12 s ago: HTTP 401"
        ),
        f"{'':75}Unauthorized: the token was rejected; next poll in 14 min",
        (
            "Garage south  Right   charging       -  10.3 / 10.3 / 10.3 A   12 A  12 s  the cloud rejects the token "
            "(for 2 h 05 min)"
        ),
        "Yard          Plug 1  offline   7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s  the plug is offline (for 40 s)",
        "Attic         -       -              -  -                         -     -  has not answered yet",
    ]


_COUNTED = snapshot(
    station(
        "Garage",
        plug("Left", energy=1234.567, session_energy=3.456, session_started=AT),
        plug("Right", status="idle", power=0.0, energy=12.0, session_energy=7.5),
    )
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (160, "Garage   Left   charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  3.46 kWh  1234.6 kWh  12 s  online"),
        (160, "Garage   Right  idle         0 W  10.3 / 10.3 / 10.3 A   12 A         -    12.0 kWh  12 s  online"),
        (118, "Garage   Left   charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  3.46 kWh  12 s  online"),
        (108, "Garage   Left   charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  12 s  online"),
        (80, "  Left          charging  7107 W  10.3 / 10.3 / 10.3 A   12 A  3.46 kWh  12 s"),
        (60, "  Left          charging  7107 W  10.3 / 10.3 / 10.3 A  12 s"),
    ],
)
def test_listing_shows_energy_where_there_is_room(width: int, expected: str) -> None:
    lines = _text(_COUNTED, width)
    assert any(line.startswith(expected) for line in lines), lines


def test_listing_unlimited_width_truncates_nothing() -> None:
    name = "A station with a name that is longer than most of them are"
    status = "a_status_that_is_longer_than_those_that_are_known_so_far"
    plugs = [plug(letter * 60, status=status, reason=Reason.UNAUTHORIZED) for letter in "PQ"]
    lines = _text(snapshot(station(name, *plugs, **{**REJECTED, "error": "x" * 290})), UNLIMITED)
    assert len(lines) == 3
    assert all(word in lines[1] for word in (name, "P" * 60, status, "x" * 290, "the cloud rejects the token"))


def test_heading_shows_the_fleet() -> None:
    members = (
        FleetMemberSnapshot("m1", "running", (0, 1, 3), "", ""),
        FleetMemberSnapshot("m2", "running", (2,), "", ""),
    )
    fleet = FleetSnapshot("etcd", "m1", 4, (0, 1, 3), connected=True, members=members)

    def lines(shown: FleetSnapshot) -> list[str]:
        found = [line.text.plain for line in heading(snapshot(*SITE, fleet=shown))]
        return found[4 : found.index(next(line for line in found if line.startswith("stations  ")))]

    assert lines(fleet) == ["fleet     m1 with 3 of 4 shards (0-1, 3), etcd answers, members m1, m2"]
    assert lines(replace(fleet, connected=False, conflict="members have different configurations", held=())) == [
        "fleet     m1 with 0 of 4 shards, etcd does NOT ANSWER, members m1, m2",
        "warning   members have different configurations",
    ]
    assert lines(FleetSnapshot("static", "m1", 4, (2, 3), connected=True)) == ["fleet     m1 with 2 of 4 shards (2-3)"]


def test_heading_summarizes_bridge_broker_and_stations() -> None:
    healthy = [line.text.plain for line in heading(snapshot(*SITE))]
    assert healthy == [
        "evse-mqtt-bridge 1.2.3: healthy, broker connected, 2 of 5 plugs online",
        "bridge    evse-mqtt-bridge, running for 3 d 4 h, topics evse/#",
        "broker    broker.example.com:1883, connected for 4 min",
        "cloud     https://cloud.example.com",
        "stations  2 of 4 online; 1 of 5 plugs charging, 7107 W",
    ]
    problems = (
        "polling is stuck: no poll finished for 80 s, though some were due",
        "no connection to the broker: refused",
    )
    unhealthy = snapshot(
        broker=replace(snapshot().broker, connected=False, error="refused"),
        health=Health(healthy=False, ready=False, messages=problems),
    )
    lines = [line.text.plain for line in heading(unhealthy)]
    summary = "evse-mqtt-bridge 1.2.3: NOT HEALTHY, broker NOT CONNECTED, 0 of 0 plugs online"
    assert lines[0] == f"{summary}; {problems[0]} (and 1 more)"
    assert lines[2] == "broker    broker.example.com:1883, not connected for 4 min"
    assert lines[-2:] == [f"warning   {problem}" for problem in problems]


@pytest.mark.parametrize("reason", [None, *Reason])
def test_listing_each_reason_is_spelled_out(reason: Reason | None) -> None:
    text = WAITING_TEXT if reason is None else REASON_TEXTS[reason]
    (_, line) = _text(snapshot(station("Yard", plug(reason=reason))), 160)
    assert text in line


def test_listing_unknown_is_a_dash_and_values_are_rounded() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("status", "power", "current_l1", "current_l2", "current_l3", "dyn_current_limit", "time")
    )
    assert re.search(r"Yard, Plug 1 +- +- +- +- +-$", _text(snapshot(station("Yard", plug(**unknown))), 80)[1])
    some = plug(power=-3680.4, current_l1=15.99999, current_l2=None, current_l3=0.0, dyn_current_limit=1e-9)
    assert re.search(r" -3680 W +16 / - / 0 A +0 A +12 s$", _text(snapshot(station("Yard", some)), 80)[1])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (9.4, "9 s"), (12, "12 s"), (300, "5 min"), (7500, "2 h 05 min"), (-0.9, "0 s"), (-600, "-10 min")],
)
def test_listing_age_is_negative_if_the_clock_is_ahead(seconds: float, text: str) -> None:
    shown = snapshot(station("Yard", plug(time=AT - timedelta(seconds=seconds))))
    assert _text(shown, 80)[1].endswith(f"  {text}")


def test_listing_last_error_shows_for_an_hour_or_while_failing() -> None:
    def remarks(minutes: float, consecutive_failures: int) -> list[str]:
        error: dict[str, Any] = {
            "error": "boom",
            "error_at": AT - timedelta(minutes=minutes),
            "consecutive_failures": consecutive_failures,
        }
        return [line for line in _text(snapshot(station("Yard", plug(), **error)), 80) if "boom" in line]

    assert remarks(59, 0)
    assert not remarks(61, 0)
    assert remarks(61, 1)


def test_listing_unusual_note_is_shown() -> None:
    assert "    unusual: an unknown status" in _text(snapshot(station("Yard", plug(), note="an unknown status")), 80)


_UUID = "6bbf9fd56dc24f9697b078d5d8ccda84"


def _without_alias(name: str = "Plug 1") -> PlugSnapshot:
    return replace(plug(name), uuid=_UUID, topic=f"evse/yard/{_UUID}")


@pytest.mark.parametrize("width", [40, 80, 120, UNLIMITED])
def test_listing_plug_without_alias_shows_its_uuid(width: int) -> None:
    shown = snapshot(station("Yard", _without_alias(), plug("Right", topic="evse/yard/right")))
    lines = _text(shown, width)
    assert [_UUID in line for line in lines].count(True) == 1
    assert f"uuid {_UUID}, no alias" in " ".join(" ".join(lines).split())
    assert _UUID not in "\n".join(_text(shown, width, worst_first=True))


@pytest.mark.parametrize("width", [60, 80, 120, 160, UNLIMITED])
@pytest.mark.parametrize("worst_first", [False, True])
def test_listing_uuid_as_name_is_never_cut(width: int, *, worst_first: bool) -> None:
    other = "c99838f9eb5b423d98f8ba33389a255c"
    plugs = [replace(plug(uuid), uuid=uuid, topic=f"evse/{uuid}/{uuid}") for uuid in (_UUID, other)]
    lines = _text(snapshot(replace(station(other, *plugs), uuid=other)), width, worst_first=worst_first)
    rows = [line for line in lines if "7107 W" in line]
    assert [uuid in row for uuid, row in zip((_UUID, other), rows, strict=True)] == [True, True]
    assert all("…" not in line for line in lines)


def test_listing_worst_first_sorts_by_rank() -> None:
    stations = [
        station("Rest", plug(status="idle")),
        station("Charging", plug()),
        station("Problem", plug(status="error")),
        station("Waiting", reason=None),
        station("Away", plug("Off", **OFFLINE), plug("On")),
    ]
    order = ["Away", "Waiting", "Problem", "Charging", "Rest"]
    nested = _text(snapshot(*stations), 70, worst_first=True)[1:]
    assert [line.split(",")[0] for line in nested if not line.startswith(" ")] == order
    flat = _text(snapshot(*stations), 160, worst_first=True)[1:]
    assert [line.split()[0] for line in flat] == ["Away", "Waiting", "Problem", "Away", "Charging", "Rest"]


def test_fit_height_last_line_counts_the_omitted_rows() -> None:
    lines = listing(snapshot(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(10))), 80)
    assert [line.text.plain.rstrip() for line in fit_height(lines, 100)] == _text(
        snapshot(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(10))), 80
    )
    cut = [line.text.plain for line in fit_height(lines, 6)]
    assert cut[1] == "Station 0"
    assert cut[-1] == "and 18 more"
    assert len(cut) == 5  # a station without any of its plugs is left out
    assert fit_height(lines, 0) == fit_height(lines, 1)


_TEXT = st.text(max_size=40)


@given(
    width=st.integers(1, 250),
    texts=st.lists(st.tuples(_TEXT, _TEXT, _TEXT, _TEXT), min_size=1, max_size=4),
    worst_first=st.booleans(),
)
def test_listing_any_text_stays_on_its_line_and_in_width(
    width: int, texts: list[tuple[str, str, str, str]], worst_first: bool
) -> None:
    shown = snapshot(
        *(station(name, plug(label, status=status), error=error, error_at=AT) for name, label, status, error in texts)
    )
    for line in listing(shown, width, worst_first=worst_first):
        assert line.text.plain.isprintable()
        if width >= 80:
            assert cell_len(line.text.plain) <= width + 40 * (not line.text.plain.isascii())
