"""Names and topic ids of stations and plugs, and the reasons that each can have."""

from dataclasses import fields, replace

import pytest

from evse_mqtt_bridge.domain.model import (
    PLUG_ONLY_REASONS,
    STATION_REASONS,
    PlugReading,
    Reason,
    Station,
    same_values,
)
from tests.harness.samples import plug_reading


@pytest.mark.parametrize(
    ("name", "alias", "title"), [("North", "north", "North"), ("", "north", "north"), ("", "", "e1")]
)
def test_station_title_is_name_or_alias_or_uuid(name: str, alias: str, title: str) -> None:
    assert Station("e1", 30, name=name, alias=alias).title == title


@pytest.mark.parametrize(
    "name", [field.name for field in fields(PlugReading) if field.name not in ("plug_uuid", "time")]
)
def test_same_values_compares_every_value(name: str) -> None:
    reading = plug_reading()
    assert same_values(reading, replace(reading, time=None))
    assert not same_values(reading, replace(reading, **{name: "other"}))  # type: ignore[arg-type]  # any other value


@pytest.mark.parametrize(("uuid", "topic_id"), [("p1", "left"), ("p2", "p2")])
def test_plug_topic_id_is_alias_or_uuid(uuid: str, topic_id: str) -> None:
    assert Station("e1", 30, plugs={"p1": "left"}).plug_topic_id(uuid) == topic_id


@pytest.mark.parametrize(
    ("uuid", "label", "title"),
    [("p1", "Plug 1", "Plug 1"), ("p1", None, "left"), ("p1", "", "left"), ("p2", None, "p2")],
)
def test_plug_title_is_label_or_alias_or_uuid(uuid: str, label: str | None, title: str) -> None:
    assert Station("e1", 30, plugs={"p1": "left"}).plug_title(uuid, label) == title


@pytest.mark.parametrize(("uuid", "title"), [("p1", "Bay 1"), ("p2", "Plug 2")])
def test_plug_title_is_first_of_all_its_name(uuid: str, title: str) -> None:
    assert Station("e1", 30, plugs={"p1": "left"}, plug_names={"p1": "Bay 1"}).plug_title(uuid, "Plug 2") == title


def test_every_reason_is_of_stations_or_of_plugs_only() -> None:
    assert set(STATION_REASONS) | PLUG_ONLY_REASONS == set(Reason)
    assert not PLUG_ONLY_REASONS & set(STATION_REASONS)
    assert set(STATION_REASONS) == {
        Reason.ONLINE,
        Reason.UNREACHABLE,
        Reason.SERVER_ERROR,
        Reason.RATE_LIMITED,
        Reason.UNAUTHORIZED,
        Reason.NOT_FOUND,
        Reason.INVALID_RESPONSE,
    }
