"""`tests.api.test_users` on a cluster, but for how many statements it takes."""

from tests.api.test_users import *  # noqa: F403 - all of them, by their names

del test_twenty_patches_at_once_are_a_few_updates_and_a_wrong_one_fails_alone  # noqa: F821
