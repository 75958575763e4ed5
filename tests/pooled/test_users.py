"""Behind PgBouncer, all that `tests/api/test_users.py` says holds."""

from tests.api.test_users import *  # noqa: F403 - the same tests with this folder's application
