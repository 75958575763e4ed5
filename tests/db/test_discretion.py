"""An error of the database says what went wrong, and not with which values."""

import traceback

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mercenary.db.engine import current
from mercenary.db.faults import sqlstate

VALUE = "goldfinch"
CREDENTIALS = "INSERT INTO credentials (email, user_id, password_hash)"
INSERT = f"{CREDENTIALS} VALUES (:value, 1, CONCAT('hash of ', CAST(:value AS text)))"


async def refused(*statements: str) -> DBAPIError:
    """What the last of the statements is refused with."""
    async with current().connecting() as connection:
        *before, last = statements
        for statement in before:
            await connection.execute(text(statement), {"value": VALUE})
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text(last), {"value": VALUE})
    return caught.value


@pytest.mark.parametrize(
    ("statements", "state", "said"),
    [
        ([INSERT, INSERT], "23505", 'violates unique constraint "pk_credentials"'),
        ([f"{CREDENTIALS} VALUES (upper(:value), 1, '')"], "23514", "email_lower"),
        ([f"{CREDENTIALS} VALUES (:value, 1, NULL)"], "23502", '"password_hash"'),
        (["SELECT CAST(CAST(:value AS text) AS int)"], "22P02", "invalid input syntax for type"),
        (["SELECT CAST(:value AS bigint)"], "22000", "invalid input for query argument $1"),
        (["SELECT absent FROM users WHERE name = :value"], "42703", '"absent" does not exist'),
    ],
)
async def test_an_error_names_the_rule_and_not_the_value(
    application: object, statements: list[str], state: str, said: str
) -> None:
    error = await refused(*statements)
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.orig)
    assert sqlstate(error) == state
    assert said in str(error)
    assert said in shown
    assert VALUE not in shown.replace(repr(statements), "").lower()
