"""`tests.api.test_repeated_values` on a cluster, but for how many statements it takes."""

from tests.api.test_repeated_values import *  # noqa: F403 - all of them, by their names

del test_a_batch_about_many_projects_tells_each_its_own  # noqa: F821
