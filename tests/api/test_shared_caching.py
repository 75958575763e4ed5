"""What is told to caches outside, by who asks: guests' answers may be kept, nobody else's."""

from typing import Any

import httpx
import pytest

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from mercenary.http.fields import resource_of
from mercenary.http.invocation import Signature
from tests.factories import post_project, sign_up

PUBLIC = "public, max-age=0, s-maxage=60, stale-while-revalidate=30"
TAGS = ("surrogate-key", "cache-tag")
SHARED = [endpoint for endpoint in ENDPOINTS if endpoint.cache.public]


@pytest.fixture(scope="module")
def changed_settings() -> dict[str, Any]:
    return {"cdn": "varnish", "varnish_addresses": ("http://127.0.0.1:1",)}


async def test_a_guests_answer_names_what_it_shows(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    project = await post_project(ada)
    tag = f"project:{project['id']}"
    one = await client.get(f"/api/v1/projects/{project['id']}")
    assert one.headers["cache-control"] == PUBLIC
    assert [one.headers[name] for name in TAGS] == [tag, tag]
    some = await client.get(f"/api/v1/projects?client_id={ada.id}")
    assert some.headers["cache-control"] == PUBLIC
    assert [some.headers[name] for name in TAGS] == [f"projects {tag}", f"projects,{tag}"]


async def test_a_page_names_its_items_also_where_their_ids_are_left_out(
    client: httpx.AsyncClient,
) -> None:
    ada = await sign_up(client)
    first, second = await post_project(ada), await post_project(ada)
    answer = await client.get(f"/api/v1/projects?client_id={ada.id}&fields=title")
    assert set(answer.headers["surrogate-key"].split()) == {
        "projects",
        f"project:{first['id']}",
        f"project:{second['id']}",
    }


async def test_what_is_known_already_is_named_again(client: httpx.AsyncClient) -> None:
    """A cache that asks whether its copy holds takes the headers from the answer to that."""
    ada = await sign_up(client)
    before = await client.get(f"/api/v1/users/{ada.id}")
    again = await client.get(
        f"/api/v1/users/{ada.id}", headers={"If-None-Match": before.headers["etag"]}
    )
    assert again.status_code == 304
    for name in ("cache-control", *TAGS):
        assert again.headers[name] == before.headers[name]


async def test_a_signed_in_callers_answer_is_for_them_alone(client: httpx.AsyncClient) -> None:
    ada = await sign_up(client)
    project = await post_project(ada)
    for path, control in {
        f"/projects/{project['id']}": "private, max-age=0, must-revalidate",
        "/projects": "private, max-age=0, must-revalidate",
        "/users/me": "private, no-store",
        "/users/me/proposals": "private, no-store",
        f"/projects/{project['id']}/proposals": "private, no-store",
    }.items():
        answer = await ada.get(path)
        assert answer.headers["cache-control"] == control, path
        assert not any(name in answer.headers for name in TAGS), path


async def test_a_problem_is_never_kept(client: httpx.AsyncClient) -> None:
    for path in ("/projects/9223372036854775807", "/projects?limit=0", "/users/me"):
        answer = await client.get(f"/api/v1{path}")
        assert answer.headers["cache-control"] == "no-store"
        assert not any(name in answer.headers for name in TAGS)


@pytest.mark.parametrize("endpoint", SHARED, ids=[endpoint.name for endpoint in SHARED])
def test_a_resource_has_the_tag_that_its_class_gives_it_on_a_page(endpoint: Endpoint) -> None:
    """Otherwise a change would be told by another name than the one that is kept."""
    resource = resource_of(Signature(endpoint).answer)
    address = getattr(resource, "address", None)
    if address is not None and endpoint.path == address:
        kind, _, place = address[1:].partition("/")
        assert endpoint.cache.tag == f"{kind.removesuffix('s')}:{place}"
    else:
        assert endpoint.cache.tag is not None
        assert ":" not in endpoint.cache.tag
