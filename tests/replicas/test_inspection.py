"""`mercenary db replicas` says who follows, how far they are, and what is kept for whom."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from sqlalchemy import make_url

from mercenary.app import Application
from mercenary.db.replicas import Replicas
from mercenary.local.postgres import EmbeddedPostgres
from tests.db.versions.test_inspection import answer, call
from tests.replicas.conftest import PATIENCE
from tests.replicas.servers import paused, setting


async def test_replicas_that_have_all_of_the_log_are_not_behind(
    database_uri: str, standbys: Sequence[EmbeddedPostgres]
) -> None:
    found = await told_once(
        database_uri, lambda each, end: each["replayed"] == each["flushed"] == end
    )
    assert len(found["followers"]) == len(standbys)
    for each in found["followers"]:
        assert (each["state"], each["synchronous"]) == ("streaming", "async")
        assert (each["lag_bytes"], each["lag_seconds"]) == (0, 0.0)
    told = (await call(database_uri, "replicas")).output
    assert "The primary on timeline 1" in told
    assert "don't wait" in told


async def test_one_that_replays_nothing_is_behind_in_bytes_and_seconds(
    database_uri: str, standbys: Sequence[EmbeddedPostgres], primary: EmbeddedPostgres
) -> None:
    await told_once(database_uri, lambda each, _: each["lag_bytes"] == 0)
    async with paused(standbys[0].uri):
        primary.run_sql("SELECT pg_logical_emit_message(true, 'for', repeat('it', 2000))")
        found = await told_once(database_uri, lambda each, _: each["unflushed_bytes"] == 0)
        behind = sorted(each["lag_bytes"] for each in found["followers"])
        assert behind[-1] >= 4000
        assert max(each["lag_seconds"] for each in found["followers"]) > 0
        itself = await answer(standbys[0].uri, "replicas")
        assert itself["following"]["paused"] is True
        assert itself["following"]["lag_bytes"] >= 4000
        assert "paused" in (await call(standbys[0].uri, "replicas")).output


async def test_a_slot_that_nobody_reads_from_is_said(
    database_uri: str, primary: EmbeddedPostgres
) -> None:
    primary.run_sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        told = await call(database_uri, "replicas")
        assert told.exit_code == 1
        assert "nobody reads from forgotten" in told.output
        found = await answer(database_uri, "replicas", exit_code=1)
        (slot,) = (each for each in found["slots"] if each["name"] == "forgotten")
        assert (slot["active"], slot["state"]) == (False, "reserved")
        assert slot["left_bytes"] > 0
    finally:
        primary.run_sql("SELECT pg_drop_replication_slot('forgotten')")


async def test_that_commits_wait_for_one_who_is_not_there_is_said(
    database_uri: str, primary: EmbeddedPostgres
) -> None:
    with setting(primary, "synchronous_standby_names", "FIRST 1 (nobody)"):
        told = await call(database_uri, "replicas")
    assert told.exit_code == 1
    assert "commits wait: 0 of the 1 replicas" in told.output


async def test_a_role_that_may_not_see_positions_is_told_so(
    database_uri: str, primary: EmbeddedPostgres
) -> None:
    primary.run_sql("CREATE ROLE curious LOGIN")
    uri = make_url(database_uri).set(username="curious").render_as_string(hide_password=False)
    try:
        told = await call(uri, "replicas")
        assert told.exit_code == 0, told.output
        assert "pg_monitor" in told.output
    finally:
        primary.run_sql("DROP ROLE curious")


async def test_each_worker_tells_what_its_replicas_answered(
    application: Application, client: httpx.AsyncClient, replicas: Replicas
) -> None:
    """`mercenary db pool`, within a second or two."""
    answered = 0
    async with asyncio.timeout(PATIENCE):
        while not answered:
            await client.get("/api/v1/skills", headers={"Cache-Control": "no-store"})
            (worker,) = (await answer(application.database_uri, "pool"))["workers"]
            answered = worker["counters"]["replicas_answered_total"]
    assert worker["counters"]["replicas_named"] == worker["counters"]["replicas_used"] == 2
    told = (await call(application.database_uri, "pool")).output
    assert "2 of 2" in told


async def told_once(uri: str, holds: Any) -> Any:
    """What the command answers once something holds of each replica and the log's end."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await answer(uri, "replicas")
            if found["followers"] and all(
                holds(each, found["position"]) for each in found["followers"]
            ):
                return found
