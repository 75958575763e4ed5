"""`tests.api.test_facets` on a cluster."""

from tests.api.test_facets import *  # noqa: F403 - all of them, by their names
