"""Behind PgBouncer, all that `tests/api/test_skills.py` says holds."""

from tests.api.test_skills import *  # noqa: F403 - the same tests with this folder's application
