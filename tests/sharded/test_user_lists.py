"""`tests.api.test_user_lists` on a cluster."""

from tests.api.test_user_lists import *  # noqa: F403 - all of them, by their names
