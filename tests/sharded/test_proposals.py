"""`tests.api.test_proposals` on a cluster, but for how many statements it takes."""

from tests.api.test_proposals import *  # noqa: F403 - all of them, by their names

del test_decisions_of_a_moment_share_their_transaction  # noqa: F821
