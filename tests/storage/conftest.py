"""The databases on which every test of the history runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.postgres import PostgreSql, find_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSql]:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgreSql().create()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history.sqlite"
    server: PostgreSql = request.getfixturevalue("postgres")
    return server.new_database()
