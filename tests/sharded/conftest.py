"""What the tests of the API ask, asked in the forms for a cluster (`MERCENARY_SHARDED`).

No Citus runs here: the statements that a cluster is sent are executed by one server. Their answers
are proven so; that Citus takes them is what `deploy/citus/` is for.
"""

from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_cursor


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
