"""Answers in the coding that the caller takes, on every route alike."""

import zlib
from collections.abc import Callable

import brotli
import httpx
import pytest
import zstandard

from mercenary.app import ENDPOINTS
from mercenary.http.endpoint import Endpoint
from tests.api.test_routes import path_of, slug
from tests.assets import served_name
from tests.factories import post_project, sign_up

LARGE = "/openapi.json"
SMALL = "/livez"
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    "br": lambda body: bytes(brotli.decompress(body)),
    "gzip": lambda body: zlib.decompress(body, 31),
}


async def raw(client: httpx.AsyncClient, method: str, path: str, accepted: str) -> httpx.Response:
    """The answer with its body as it was sent, in `extensions["raw"]`."""
    request = client.build_request(method, path, headers={"Accept-Encoding": accepted})
    answer = await client.send(request, stream=True)
    answer.extensions["raw"] = b"".join([part async for part in answer.aiter_raw()])
    return answer


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("gzip, deflate, br", "br"), ("gzip, deflate, br, zstd", "zstd")],
)
async def test_a_large_answer_is_sent_in_the_best_coding(
    client: httpx.AsyncClient, accepted: str, coding: str
) -> None:
    plain = await raw(client, "GET", LARGE, "identity")
    assert "content-encoding" not in plain.headers
    answer = await raw(client, "GET", LARGE, accepted)
    assert answer.headers["content-encoding"] == coding
    assert "Accept-Encoding" in answer.headers["vary"]
    body = answer.extensions["raw"]
    assert int(answer.headers["content-length"]) == len(body) < len(plain.extensions["raw"])
    decoded = DECODERS[coding](body)
    assert decoded == plain.extensions["raw"]


async def test_a_list_that_has_grown_large_is_encoded(client: httpx.AsyncClient) -> None:
    owner = await sign_up(client)
    await post_project(owner, description="Long. " * 400)
    answer = await raw(client, "GET", "/api/v1/projects", "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding, Authorization"


async def test_a_small_answer_goes_as_it_is(client: httpx.AsyncClient) -> None:
    answer = await raw(client, "GET", SMALL, "gzip, br, zstd")
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.extensions["raw"])
    assert "Accept-Encoding" in answer.headers["vary"]


async def test_an_image_goes_as_it_is(client: httpx.AsyncClient) -> None:
    answer = await raw(
        client, "GET", f"/docs/assets/{served_name('favicon-32x32.png')}", "gzip, br, zstd"
    )
    assert "content-encoding" not in answer.headers
    assert answer.extensions["raw"].startswith(b"\x89PNG")


async def test_head_says_what_get_would_in_every_coding(client: httpx.AsyncClient) -> None:
    for accepted in ("zstd", "br", "gzip", "identity"):
        get = await raw(client, "GET", LARGE, accepted)
        head = await raw(client, "HEAD", LARGE, accepted)
        assert head.extensions["raw"] == b""
        for name in ("content-length", "content-encoding", "content-type", "vary"):
            assert head.headers.get(name) == get.headers.get(name)


async def test_a_large_problem_is_encoded(client: httpx.AsyncClient) -> None:
    answer = await raw(client, "GET", "/livez?" + "&".join(f"x{n}" for n in range(30)), "gzip")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-encoding"] == "gzip"
    assert b"/problems/invalid" in zlib.decompress(answer.extensions["raw"], 31)


async def test_no_body_has_no_coding(client: httpx.AsyncClient) -> None:
    owner = await sign_up(client)
    answer = await client.post(
        "/api/v1/auth/logout",
        headers={**owner.headers, "Accept-Encoding": "gzip, identity;q=0"},
    )
    assert answer.status_code == 204
    assert "content-encoding" not in answer.headers
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("accepted", ["identity;q=0", "*;q=0", "deflate, identity;q=0"])
async def test_who_takes_no_form_at_all_is_refused_before_anything_is_done(
    client: httpx.AsyncClient, endpoint: Endpoint, accepted: str
) -> None:
    answer = await client.request(
        endpoint.method, path_of(endpoint.route), headers={"Accept-Encoding": accepted}
    )
    assert (answer.status_code, slug(answer)) == (406, "not-acceptable")
    assert "content-encoding" not in answer.headers
