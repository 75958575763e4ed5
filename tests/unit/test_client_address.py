"""Where a request comes from, when callers and proxies claim all kinds of things."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from mercenary.edge.client_address import ClientAddress, counted_as

PROXIES = ("10.0.0.0/8", "fd00::/8")


async def seen(
    *headers: tuple[str, str],
    peer: tuple[str, int] | None = ("10.0.0.1", 4711),
    trusted: tuple[str, ...] = PROXIES,
) -> tuple[str, str]:
    """The address and the scheme that the layers below find."""
    scopes: list[Scope] = []

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    scope = {
        "type": "http",
        "scheme": "http",
        "client": peer,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }
    await ClientAddress(below, trusted)(scope, nothing, nothing)
    return scopes[0]["client_address"], scopes[0]["scheme"]


async def address(*headers: tuple[str, str], **options: Any) -> str:
    return (await seen(*headers, **options))[0]


async def test_nobody_is_believed_by_default() -> None:
    for peer in ("127.0.0.1", "10.0.0.1", "8.8.8.8"):
        claims = (("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=1.1.1.1;proto=https"))
        assert await seen(*claims, peer=(peer, 1), trusted=()) == (peer, "http")


async def test_a_stranger_is_not_believed() -> None:
    claims = (("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Proto", "https"))
    assert await seen(*claims, peer=("8.8.8.8", 1)) == ("8.8.8.8", "http")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.9, 203.0.113.7, 10.0.0.2,10.0.0.3", "203.0.113.7"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("203.0.113.7:8080", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("[fe80::7%25eth0]:443", "fe80::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, fd00::1", "203.0.113.7"),
    ],
)
async def test_the_walk_ends_at_the_first_who_isnt_trusted(entries: str, expected: str) -> None:
    assert await address(("X-Forwarded-For", entries)) == expected


@pytest.mark.parametrize(
    "entry",
    ["", " ", "unknown", "_hidden", "300.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4:", "1.2.3.4:x",
     "1.2.3.4:123456", "[1.2.3.4]", "[2001:db8::7", "[2001:db8::7]x", "[]", "a.example", "::g",
     "1.1.1.1 2.2.2.2", "\u0661.1.1.1", "9" * 10_000, "%eth0", "1.1.1.1;drop", "\x00"],
)  # fmt: skip
async def test_what_is_malformed_ends_the_walk_at_who_brought_it(entry: str) -> None:
    assert await address(("X-Forwarded-For", entry)) == "10.0.0.1"
    assert await address(("X-Forwarded-For", f"1.1.1.1,{entry}")) == "10.0.0.1"
    assert await address(("X-Forwarded-For", f"1.1.1.1, {entry}, 10.0.0.2")) == "10.0.0.2"
    assert await address(("X-Forwarded-For", f"{entry}, 203.0.113.7")) == "203.0.113.7"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.7", ("203.0.113.7", "http")),
        ("For=203.0.113.7;Proto=HTTPS;by=10.0.0.1", ("203.0.113.7", "https")),
        ('proto="https" ; for="203.0.113.7:80"', ("203.0.113.7", "https")),
        ('for="[2001:db8::7]:443";proto=https', ("2001:db8::7", "https")),
        ("for=203.0.113.7;proto=https, for=10.0.0.2;proto=http", ("203.0.113.7", "https")),
        ("for=1.1.1.1;proto=https, for=203.0.113.7;proto=http", ("203.0.113.7", "http")),
        ('for="_a,b", for=203.0.113.7', ("203.0.113.7", "http")),
        ('for=203.0.113.7, for=10.0.0.2;by="a,b;c"', ("203.0.113.7", "http")),
        ('for="1.1.1.1, for=203.0.113.7', ("203.0.113.7", "http")),
        ('for="1.1.1.1, for="[2001:db8::7]"', ("2001:db8::7", "http")),
        ("for=unknown;proto=https", ("10.0.0.1", "http")),
        ("for=203.0.113.7;for=1.1.1.1", ("10.0.0.1", "http")),
        ("for=203.0.113.7 proto=https", ("10.0.0.1", "http")),
        ("proto=https", ("10.0.0.1", "http")),
        ("for=2001:db8::7", ("10.0.0.1", "http")),
        ('for="203.0.113.7', ("10.0.0.1", "http")),
        (";;;,,,", ("10.0.0.1", "http")),
    ],
)
async def test_forwarded_is_read_as_rfc_7239_has_it(header: str, expected: tuple[str, str]) -> None:
    assert await seen(("Forwarded", header)) == expected


async def test_a_header_in_several_lines_is_one_list() -> None:
    lines = (("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7, 10.0.0.2"))
    assert await address(*lines) == "203.0.113.7"
    lines = (("Forwarded", "for=203.0.113.7"), ("Forwarded", "for=10.0.0.2"))
    assert await address(*lines) == "203.0.113.7"


async def test_two_headers_that_disagree_are_both_not_believed() -> None:
    """A proxy that writes one hands the caller's own other one on."""
    assert await address(("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=1.1.1.1")) == (
        "10.0.0.1"
    )
    assert await address(("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7")) == (
        "203.0.113.7"
    )


@pytest.mark.parametrize(
    ("entries", "protocols", "scheme"),
    [
        ("203.0.113.7", "https", "https"),
        ("203.0.113.7", "HTTPS ", "https"),
        ("203.0.113.7", "http", "http"),
        ("203.0.113.7", "https, http", "http"),
        ("203.0.113.7, 10.0.0.2", "https, http", "https"),
        ("203.0.113.7, 10.0.0.2", "https", "https"),
        ("", "https", "https"),
        ("203.0.113.7", "gopher", "http"),
    ],
)
async def test_the_scheme_is_the_one_towards_the_caller(
    entries: str, protocols: str, scheme: str
) -> None:
    headers = (("X-Forwarded-For", entries), ("X-Forwarded-Proto", protocols))
    assert (await seen(*headers))[1] == scheme


async def test_a_peer_without_an_address_is_trusted_only_by_name() -> None:
    claim = ("X-Forwarded-For", "203.0.113.7")
    assert await address(claim, peer=None) == "unix"
    assert await address(claim, peer=("", 0)) == "unix"
    assert await address(claim, peer=None, trusted=("unix",)) == "203.0.113.7"
    assert await address(claim, trusted=("unix",)) == "10.0.0.1"


async def test_a_peer_of_a_dual_stack_socket_is_the_ipv4_address_that_it_is() -> None:
    assert await address(peer=("::ffff:203.0.113.7", 1), trusted=()) == "203.0.113.7"
    claim = ("X-Forwarded-For", "203.0.113.7")
    assert await address(claim, peer=("::ffff:10.0.0.1", 1)) == "203.0.113.7"


async def test_a_header_full_of_proxies_is_read_to_a_bound() -> None:
    assert await address(("X-Forwarded-For", "203.0.113.7," + "10.0.0.2," * 5_000)) == "10.0.0.1"
    many = ",".join(["203.0.113.7", *["10.0.0.2"] * 1_000])
    assert await address(("X-Forwarded-For", many)) == "10.0.0.2"


@given(prefix=st.text(st.characters(max_codepoint=255), max_size=60))
async def test_nothing_that_a_caller_writes_moves_what_the_proxy_appends(prefix: str) -> None:
    """The proxy's own entry is the last one, and it stands."""
    for header in ("X-Forwarded-For", "Forwarded"):
        appended = "203.0.113.7" if header == "X-Forwarded-For" else "for=203.0.113.7"
        assert await address((header, f"{prefix}, {appended}")) == "203.0.113.7"


def test_ipv6_is_counted_by_64_bits() -> None:
    assert counted_as("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert counted_as("2001:db8:1:2::1") == counted_as("2001:db8:1:2:ffff::")
    assert counted_as("2001:db8:1:3::1") != counted_as("2001:db8:1:2::1")
    assert counted_as("203.0.113.7") == "203.0.113.7"
    assert counted_as("unix") == "unix"
