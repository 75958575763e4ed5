"""What the tests of the API ask, asked in the forms for a cluster (`MERCENARY_SHARDED`).

Where no cluster is given (`tests/cluster`), the statements that it would be sent are executed by
one server. Their answers are proven so, and whether Citus takes them by `tests/citus`.
"""

from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_cursor

from tests.cluster.database import cluster_uri, empty, prepare

if (GIVEN := cluster_uri()) is not None:

    @pytest.fixture(scope="session")
    async def cluster() -> str:
        """The cluster's database, distributed."""
        return await prepare(str(GIVEN))

    @pytest.fixture(scope="module")
    async def database_uri(cluster: str) -> str:
        """The same for every module, emptied."""
        await empty(cluster)
        return cluster


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    """Whatever the database says of itself, it is asked as a cluster is."""
    return {"sharded": True}


@pytest.fixture(autouse=True)
def turned_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What RETURNING gives comes the other way round: from many shards it comes in no order."""
    execute = AsyncAdapt_asyncpg_cursor._prepare_and_execute

    async def turned(cursor: Any, operation: str, parameters: Any) -> None:
        await execute(cursor, operation, parameters)  # type: ignore[no-untyped-call]
        if "RETURNING" in operation:
            cursor._rows.reverse()

    monkeypatch.setattr(AsyncAdapt_asyncpg_cursor, "_prepare_and_execute", turned)
