"""`tests.api.test_auth` on a cluster."""

from tests.api.test_auth import *  # noqa: F403 - all of them, by their names
