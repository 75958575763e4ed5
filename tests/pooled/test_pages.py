"""Behind PgBouncer, all that `tests/api/test_pages.py` says holds."""

from tests.api.test_pages import *  # noqa: F403 - the same tests with this folder's application
