"""What is warmed follows from the endpoints' declarations."""

from mercenary.app import ENDPOINTS
from mercenary.ops.warming import first_pages

PAGES = list(first_pages(ENDPOINTS))


def test_lists_are_warmed_in_every_order_and_with_every_status() -> None:
    assert {
        "/api/v1/projects",
        "/api/v1/projects?sort=-budget",
        "/api/v1/projects?status=open",
        "/api/v1/projects?status=in_progress&sort=created_at",
        "/api/v1/users?role=freelancer&sort=-hourly_rate",
        "/api/v1/skills",
    } <= set(PAGES)


def test_nothing_is_warmed_that_isnt_shared_or_asks_for_an_id() -> None:
    assert len(PAGES) == len(set(PAGES))
    assert not [page for page in PAGES if "{" in page or "/me" in page or "/proposals" in page]
