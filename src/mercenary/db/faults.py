"""What a database failure means to a caller.

A row's own fault stays an exception of SQLAlchemy's, so that a batch can be split to find the row;
what concerns the server or the time left becomes a `ProblemError`, for which splitting is useless.
"""

import asyncio

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mercenary.errors import Conflict, DeadlineExceeded, Overloaded, ProblemError, Unavailable

# SQLSTATE classes and codes (PostgreSQL, appendix A) that say «not now» rather than «not this row».
_READ_ONLY = "25006"
_AWAY = ("08", "53", "57P", "58", _READ_ONLY)
_LOCK_TIMEOUT = "55P03"
_STATEMENT_TIMEOUT = "57014"
_TRY_AGAIN = ("40001", "40P01")


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE that the driver reported, or an empty string."""
    original = getattr(error, "orig", error)
    return str(getattr(original, "sqlstate", None) or "")


def is_timeout(error: BaseException) -> bool:
    """Whether a statement took as long as it may."""
    return sqlstate(error) == _STATEMENT_TIMEOUT or isinstance(error, TimeoutError)


def lost_primary(error: BaseException) -> bool:
    """Whether a server refused a write because it is a replica (by now)."""
    return sqlstate(error) == _READ_ONLY


def lost_connection(error: BaseException) -> bool:
    """Whether the connection broke or never came about, so that no statement's fate is known."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or sqlstate(error).startswith(("08", "57P"))
    return isinstance(error, OSError | asyncio.IncompleteReadError)


def as_problem(error: Exception) -> Exception:
    """The `ProblemError` for a fault of the server or the clock; a row's own fault as it came."""
    if isinstance(error, ProblemError):
        return error
    state = sqlstate(error)
    if is_timeout(error):
        return DeadlineExceeded("The database took too long.")
    if state == _LOCK_TIMEOUT:
        return Overloaded("Others are changing the same things at this moment.")
    if isinstance(error, PoolTimeout) or lost_connection(error) or state.startswith(_AWAY):
        return Unavailable("The database is away for the moment.", retry_after=2)
    return error


def conflict_of(error: Exception) -> Exception:
    """The answer for a single row that the constraints refused after the rules had passed it."""
    if isinstance(error, IntegrityError) or sqlstate(error) in _TRY_AGAIN:
        return Conflict("Somebody changed this at the same moment. Read it again.")
    return error
