"""Behind PgBouncer, all that `tests/api/test_proposals.py` says holds."""

from tests.api.test_proposals import *  # noqa: F403 - the same tests with this folder's application
