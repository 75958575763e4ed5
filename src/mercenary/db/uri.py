"""The guide's `postgresql://…` in the form that SQLAlchemy's asyncpg dialect takes."""

from sqlalchemy import URL, make_url


def asyncpg_url(uri: str) -> URL:
    """Name the asyncpg driver in a libpq-style URI; `?host=/folder` (a Unix socket) is kept.

    libpq's `sslmode` becomes asyncpg's `ssl`, which takes the same words.

    Raises:
        ValueError: the URI isn't one of PostgreSQL.
    """
    url = make_url(uri)
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(f"{url.get_backend_name()} is not PostgreSQL")
    mode = url.query.get("sslmode")
    if mode is not None:
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url.set(drivername="postgresql+asyncpg")
