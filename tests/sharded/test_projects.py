"""`tests.api.test_projects` on a cluster, but for how many statements it takes."""

from tests.api.test_projects import *  # noqa: F403 - all of them, by their names

del test_pages_of_one_shape_are_one_statement  # noqa: F821
