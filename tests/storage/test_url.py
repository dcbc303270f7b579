"""The URL of a database, and its forms for people and for libpq."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.storage.url import DatabaseUrl, with_password

_POSTGRES = "postgresql+psycopg://bridge@db.example.com:5433/evse?sslmode=require"


def test_sqlite_url_names_its_file() -> None:
    url = DatabaseUrl("sqlite:////var/lib/history 1%.sqlite")
    assert url.file == Path("/var/lib/history 1%.sqlite")
    assert url.name == "/var/lib/history 1%.sqlite"


def test_postgres_url_has_the_form_of_libpq() -> None:
    url = DatabaseUrl(_POSTGRES)
    assert url.file is None
    assert url.conninfo == "postgresql://bridge@db.example.com:5433/evse?sslmode=require"
    assert url.name == _POSTGRES


@pytest.mark.parametrize("password", ["s3cret", "a:b@c/d?e#f", "100 % sure+", "ä\\'\""])
def test_password_reaches_libpq_and_not_the_name(password: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    url = DatabaseUrl(with_password(_POSTGRES, password))
    assert psycopg.conninfo.conninfo_to_dict(url.conninfo) == {
        "user": "bridge",
        "password": password,
        "host": "db.example.com",
        "port": "5433",
        "dbname": "evse",
        "sslmode": "require",
    }
    assert url.name == "postgresql+psycopg://bridge:***@db.example.com:5433/evse?sslmode=require"
    assert password not in repr(url)


def test_password_without_a_user_is_kept() -> None:
    psycopg = pytest.importorskip("psycopg")
    url = DatabaseUrl(with_password("postgresql+psycopg://[::1]/evse", "s3cret"))
    assert psycopg.conninfo.conninfo_to_dict(url.conninfo)["password"] == "s3cret"
    assert url.name == "postgresql+psycopg://:***@[::1]/evse"


@pytest.mark.parametrize("key", ["password", "sslpassword", "pass%77ord"])
def test_password_among_the_options_is_hidden(key: str) -> None:
    url = DatabaseUrl(f"postgresql+psycopg://bridge@db.example.com/evse?sslmode=require&{key}=s3cret&connect_timeout=3")
    assert url.name == f"postgresql+psycopg://bridge@db.example.com/evse?sslmode=require&{key}=***&connect_timeout=3"
