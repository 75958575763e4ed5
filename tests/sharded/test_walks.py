"""`tests.api.test_walks` on a cluster."""

from tests.api.test_walks import *  # noqa: F403 - all of them, by their names
