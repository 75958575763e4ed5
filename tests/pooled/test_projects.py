"""Behind PgBouncer, all that `tests/api/test_projects.py` says holds."""

from tests.api.test_projects import *  # noqa: F403 - the same tests with this folder's application
