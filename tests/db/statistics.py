"""Statistics of a large marketplace, for plans of what would take minutes to fill.

    python -m tests.db.statistics

seeds a million projects on a server of its own, with half a million users and what these leave
behind, and stores in `statistics_1m.json` what ANALYZE and VACUUM found: a few minutes and some
6 GiB of disk, once after a change of tables. `restore` makes an empty database look like that to
the planner. It takes rows a page from the statistics and pages from the files, so the files are
made as long as they were, of holes: they hold nothing and take no room. A database so treated can
be planned for, and nothing else.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from mercenary import settings
from mercenary.db.migrate import upgrade
from mercenary.local.postgres import EmbeddedPostgres
from mercenary.local.stack import temporary_folder
from mercenary.seeding.seed import seed

FILE: Final = Path(__file__).with_name("statistics_1m.json")
PROJECTS: Final = 1_000_000
PAGE: Final = 8192
SEGMENT: Final = 1 << 30
# Nobody looks for a range of what is longer, nor for the commonest.
LONGEST_COMPARED: Final = 60

# Ten users for each seeded one; of these every other one signed in lately, and wrote.
MORE: Final = """
    INSERT INTO users (id, created_at, updated_at, role, email, name, country, currency,
                       hourly_rate, headline, bio)
    SELECT users.id + copy * 1000000, created_at + copy * interval '1 second', updated_at, role,
           copy || email, name, country, currency, hourly_rate, headline, bio
    FROM users, generate_series(1, 9) AS copy;
    INSERT INTO user_skills
    SELECT user_id + copy * 1000000, skill_id, level
    FROM user_skills, generate_series(1, 9) AS copy;
    INSERT INTO credentials (email, user_id, updated_at, password_hash)
    SELECT lower(email), id, updated_at, '' FROM users ON CONFLICT DO NOTHING;
    UPDATE users SET is_active = false, deactivated_at = now() - id % 60 * interval '1 day'
    WHERE id % 100 = 7;
    INSERT INTO sessions (user_id, id, created_at, expires_at, ended_at)
    SELECT id, id * 2 + number, now() - id % 40 * interval '1 day',
           now() + (30 - id % 40) * interval '1 day',
           CASE WHEN id % 3 = 0 THEN now() - id % 30 * interval '1 day' END
    FROM users, generate_series(0, 1) AS number WHERE id % 2 = 0;
    INSERT INTO refresh_tokens (user_id, token_hash, session_id, created_at, expires_at, used_at)
    SELECT user_id, sha256((id * 4 + number)::text::bytea), id, created_at, expires_at,
           CASE WHEN number < 2 THEN created_at END
    FROM sessions, generate_series(0, 2) AS number;
    INSERT INTO idempotency_keys (user_id, created_at, key_hash, fingerprint, answer)
    SELECT user_id, now() - id % 1600 * interval '1 minute', sha256(id::text::bytea),
           sha256(user_id::text::bytea), convert_to(repeat(md5(id::text), 12), 'UTF8')
    FROM sessions;
    INSERT INTO outbox (id, key, stamp, created_at, version, name, subject, tags)
    SELECT number, number, number, now() - number * interval '1 ms', 1, 'project.updated',
           'project:' || number, 'projects project:' || number
    FROM generate_series(1, 100000) AS number;
    INSERT INTO cdn_purges (target, tag, due_at)
    SELECT 'varnish', 'project:' || number, now() - number * interval '1 ms'
    FROM generate_series(1, 100000) AS number;
"""

_RELATIONS: Final = """
    SELECT c.relname, c.relpages AS pages, c.reltuples AS rows, c.relallvisible AS visible
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'm', 'i')
      AND c.relpages > 0 AND c.relname NOT LIKE 'alembic%'
    ORDER BY c.relname
"""
_COLUMNS: Final = """
    SELECT tablename, attname, null_frac, avg_width, n_distinct,
           most_common_vals::text, most_common_freqs,
           (SELECT array_agg(bound ORDER BY place)::text
            FROM unnest(histogram_bounds::text::text[]) WITH ORDINALITY AS all_of (bound, place)
            WHERE place % 5 = 1 HAVING count(*) > 1) AS histogram_bounds,
           correlation,
           most_common_elems::text, most_common_elem_freqs, elem_count_histogram
    FROM pg_stats WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%'
    ORDER BY tablename, attname
"""
_TYPES: Final = {
    "null_frac": "real",
    "avg_width": "integer",
    "n_distinct": "real",
    "most_common_vals": "text",
    "most_common_freqs": "real[]",
    "histogram_bounds": "text",
    "correlation": "real",
    "most_common_elems": "text",
    "most_common_elem_freqs": "real[]",
    "elem_count_histogram": "real[]",
}
_BY_VALUE: Final = ("most_common_vals", "most_common_freqs", "histogram_bounds")


async def gather(connection: asyncpg.Connection) -> dict[str, Any]:
    """What is known of each table, index and view, and of each column."""
    relations = {
        row["relname"]: {name: row[name] for name in ("pages", "rows", "visible")} | {"columns": {}}
        for row in await connection.fetch(_RELATIONS)
    }
    for row in await connection.fetch(_COLUMNS):
        known = {name: _rounded(row[name]) for name in _TYPES if row[name] is not None}
        if known["avg_width"] > LONGEST_COMPARED:
            for name in _BY_VALUE:
                known.pop(name, None)
        relations[row["tablename"]]["columns"][row["attname"]] = known
    return {"made": datetime.now(UTC).isoformat(), "relations": relations}


async def restore(connection: asyncpg.Connection, found: dict[str, Any]) -> None:
    """Make the database look to the planner as the one whose statistics these are.

    Times are moved, so that what was an hour ago is an hour ago. What isn't there any more is
    passed over, and what is new stays empty.
    """
    folder = Path(await connection.fetchval("SHOW data_directory"))
    files = dict(
        await connection.fetch(
            "SELECT relname, pg_relation_filepath(oid) FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm', 'i')"
        )
    )
    times = {
        tuple(row)
        for row in await connection.fetch(
            "SELECT attrelid::regclass::text, attname::text FROM pg_attribute"
            " WHERE atttypid = 'timestamptz'::regtype AND attnum > 0"
        )
    }
    columns = {
        tuple(row)
        for row in await connection.fetch(
            "SELECT attrelid::regclass::text, attname::text FROM pg_attribute"
            " WHERE attnum > 0 AND NOT attisdropped"
        )
    }
    statements = []
    for name, relation in found["relations"].items():
        if name not in files:
            continue
        _lengthen(folder / files[name], relation["pages"])
        statements.append(_restored(name, relation))
        for column, known in relation["columns"].items():
            if (name, column) in columns:
                moved = found["made"] if (name, column) in times else None
                statements.append(_restored_column(name, column, known, moved))
    await connection.execute(";\n".join(statements))


def _lengthen(path: Path, pages: int) -> None:
    """Make a relation's files as long as so many pages, by holes."""
    for number, start in enumerate(range(0, pages * PAGE, SEGMENT)):
        segment = path if number == 0 else path.with_name(f"{path.name}.{number}")
        length = min(SEGMENT, pages * PAGE - start)
        if not segment.exists():
            segment.touch()
            shutil.copystat(path, segment)
            owner = path.stat()
            os.chown(segment, owner.st_uid, owner.st_gid)
        if segment.stat().st_size < length:
            os.truncate(segment, length)


def _restored(name: str, relation: dict[str, Any]) -> str:
    return (
        f"SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', '{name}',"
        f" 'relpages', {relation['pages']}, 'reltuples', '{relation['rows']}'::real,"
        f" 'relallvisible', {relation['visible']})"
    )


def _restored_column(name: str, column: str, known: dict[str, Any], made: str | None) -> str:
    pairs = ", ".join(
        f"'{key}', {_value(key, value, made)}::{_TYPES[key]}" for key, value in known.items()
    )
    return (
        f"SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', '{name}',"
        f" 'attname', '{column}', 'inherited', false, {pairs})"
    )


def _value(key: str, value: Any, made: str | None) -> str:
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    quoted = "'" + str(value).replace("'", "''") + "'"
    if made is not None and _TYPES[key] == "text":
        return (
            "(SELECT array_agg(each + (now() - "
            f"'{made}'::timestamptz) ORDER BY place)::text FROM unnest({quoted}::timestamptz[])"
            " WITH ORDINALITY AS moved (each, place))"
        )
    return quoted


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """As JSON, each column a line, so that a change of one is seen."""
    yield f'{{"made": {json.dumps(found["made"])}, "relations": {{'
    last = len(found["relations"]) - 1
    for number, (name, relation) in enumerate(found["relations"].items()):
        facts = ", ".join(f'"{key}": {relation[key]:.0f}' for key in ("pages", "rows", "visible"))
        columns = [
            f"    {json.dumps(column)}: {json.dumps(known, ensure_ascii=False)}"
            for column, known in relation["columns"].items()
        ]
        end = "}" if number == last else "},"
        if columns:
            yield f'  {json.dumps(name)}: {{{facts}, "columns": {{'
            yield ",\n".join(columns)
            yield f"  }}{end}"
        else:
            yield f'  {json.dumps(name)}: {{{facts}, "columns": {{}}{end}'
    yield "}}"


async def make(projects: int) -> None:
    """Seed a marketplace on a server of its own and store its statistics."""
    folder = temporary_folder()
    server = EmbeddedPostgres(folder)
    try:
        server.start()
        await upgrade(server.uri)
        await seed(server.uri, settings.get(), projects=projects, seed=1, with_demo=False)
        connection = await asyncpg.connect(server.uri)
        for statement in (*MORE.strip().rstrip(";").split(";\n"), "VACUUM (ANALYZE)"):
            await connection.execute(statement)
        found = await gather(connection)
        await connection.close()
    finally:
        server.stop()
        shutil.rmtree(folder)
    FILE.write_text("\n".join(_lines(found)) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """The number of projects may be given, to try whether all of it works."""
    asyncio.run(make(int(arguments[0]) if arguments else PROJECTS))


if __name__ == "__main__":
    main(sys.argv[1:])
