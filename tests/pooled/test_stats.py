"""Behind PgBouncer, all that `tests/api/test_stats.py` says holds."""

from tests.api.test_stats import *  # noqa: F403 - the same tests with this folder's application
