"""The database's errors without the values that they quote.

An error's text ends in a log, and PostgreSQL and asyncpg quote in it what a statement was given:
the row that failed a constraint (`DETAIL`), the argument that has another type. Among these are
e-mail addresses and the hashes of passwords and tokens. SQLAlchemy's `hide_parameters` covers only
what SQLAlchemy itself would add.
"""

import re

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from mercenary.db.faults import sqlstate

# SQLSTATE class 22: what is wrong with a value is said by quoting it.
_DATA_EXCEPTION = "22"
_QUOTATION = re.compile(r"[:\"'(]")


def keep_values_out(engine: AsyncEngine) -> None:
    """Have every error of this engine's statements lose its values before anybody sees it."""
    event.listen(engine.sync_engine, "handle_error", _forget_values)


def _forget_values(context: ExceptionContext) -> None:
    original = context.original_exception
    driver = original.__cause__  # asyncpg's, which SQLAlchemy's adapter has translated
    if driver is None or not driver.args:
        return
    said, plain = str(driver), _without_values(driver)
    for error in (driver, original, context.sqlalchemy_exception):
        if error is not None:
            error.args = tuple(
                each.replace(said, plain) if isinstance(each, str) else each for each in error.args
            )
    for error in (driver, original):
        if hasattr(error, "detail"):
            error.detail = None


def _without_values(driver: BaseException) -> str:
    message = str(driver.args[0])
    # A ValueError is asyncpg's own, about an argument that it didn't even send.
    if sqlstate(driver).startswith(_DATA_EXCEPTION) or isinstance(driver, ValueError):
        return _QUOTATION.split(message, maxsplit=1)[0].strip()
    return message
