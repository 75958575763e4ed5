"""`tests.api.test_idempotency` on a cluster, but for how many statements it takes."""

from tests.api.test_idempotency import *  # noqa: F403 - all of them, by their names

del test_a_key_costs_two_statements_of_the_batch  # noqa: F821
