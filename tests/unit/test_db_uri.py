"""Addresses of databases, in libpq's form and in SQLAlchemy's."""

import pytest

from mercenary.db.uri import asyncpg_url


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://ada:s%40x@db:5433/shop", "postgresql+asyncpg://ada:s%40x@db:5433/shop"),
        ("postgres://db/shop", "postgresql+asyncpg://db/shop"),
        ("postgresql+asyncpg://db/shop", "postgresql+asyncpg://db/shop"),
        ("postgresql://db/shop?sslmode=require", "postgresql+asyncpg://db/shop?ssl=require"),
        ("postgresql:///shop?host=/run/pg", "postgresql+asyncpg:///shop?host=%2Frun%2Fpg"),
    ],
)
def test_an_address_names_asyncpg(uri: str, expected: str) -> None:
    assert asyncpg_url(uri).render_as_string(hide_password=False) == expected


def test_another_database_is_refused() -> None:
    with pytest.raises(ValueError, match="mysql is not PostgreSQL"):
        asyncpg_url("mysql://db/shop")
