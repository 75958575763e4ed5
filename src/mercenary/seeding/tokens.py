"""Access tokens with real sessions for many users at once, for tools that need to be signed in."""

import random
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from mercenary.auth.tokens import mint
from mercenary.db.pooler import UNNAMED
from mercenary.db.uri import asyncpg_url
from mercenary.seeding.load import SeedError
from mercenary.settings import Settings

CONNECT_SECONDS: Final = 10.0
ROLES: Final = ("freelancer", "client")


class Issued(NamedTuple):
    """A token and whose it is."""

    user_id: int
    role: str
    token: str


async def issue(
    uri: str, settings: Settings, *, seconds: int, user_id: int | None = None, count: int = 1
) -> list[Issued]:
    """Open sessions of `seconds` and mint a token for each.

    For one user, or for `count` freelancers and clients in the proportion in which there are
    any. When `count` is more than there are, each gets several sessions.

    Raises:
        SeedError: there is no such user, or nobody at all.
    """
    dsn = asyncpg_url(uri).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, **UNNAMED)
    try:
        if user_id is None:
            chosen = await _some_users(connection, count)
        else:
            chosen = [await _one_user(connection, user_id)]
        sessions = await _open_sessions(connection, [id for id, _ in chosen], seconds)
    finally:
        await connection.close()
    return [
        Issued(id, role, mint(settings, id, role, session, seconds=seconds))
        for (id, role), session in zip(chosen, sessions, strict=True)
    ]


async def _one_user(connection: asyncpg.Connection, user_id: int) -> tuple[int, str]:
    row = await connection.fetchrow(
        "SELECT id, role FROM users WHERE id = $1 AND is_active", user_id
    )
    if row is None:
        raise SeedError(f"there is no active user {user_id}; `GET /api/v1/users` lists them")
    return row["id"], row["role"]


async def _some_users(connection: asyncpg.Connection, count: int) -> list[tuple[int, str]]:
    users: dict[str, list[int]] = {}
    for role in ROLES:
        rows = await connection.fetch(
            "SELECT id FROM users WHERE role = $1 AND is_active ORDER BY id", role
        )
        if rows:
            users[role] = [row["id"] for row in rows]
    if not users:
        raise SeedError("there are no users to mint tokens for; run `mercenary seed` first")
    everybody = sum(map(len, users.values()))
    source = random.Random(1)  # noqa: S311 - the same users for the same count
    chosen: list[tuple[int, str]] = []
    for place, (role, ids) in enumerate(users.items(), 1):
        left = count - len(chosen)
        share = left if place == len(users) else min(left, round(count * len(ids) / everybody))
        shuffled = source.sample(ids, len(ids))
        chosen += [(shuffled[turn % len(ids)], role) for turn in range(share)]
    source.shuffle(chosen)
    return chosen


async def _open_sessions(
    connection: asyncpg.Connection, user_ids: list[int], seconds: int
) -> list[int]:
    rows = await connection.fetch(
        "SELECT nextval('sessions_id_seq') AS id FROM generate_series(1, $1)", len(user_ids)
    )
    sessions = [row["id"] for row in rows]
    now = datetime.now(UTC)
    expires = now + timedelta(seconds=seconds)
    await connection.copy_records_to_table(
        "sessions",
        columns=("user_id", "id", "created_at", "expires_at"),
        records=[
            (user_id, id, now, expires) for user_id, id in zip(user_ids, sessions, strict=True)
        ],
    )
    return sessions
