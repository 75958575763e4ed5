"""Access tokens that nobody was given: forged, raised, borrowed, respelt, outlived. All are 401."""

import asyncio
import base64
import json
import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mercenary import settings
from mercenary.auth import admins
from mercenary.auth.service import authenticator
from mercenary.db import engine
from mercenary.http.access import UserId
from mercenary.keys import derive
from tests.factories import Person, sign_in, sign_up, token_of

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
HEADER = {"alg": "EdDSA", "typ": "at+jwt"}
NESTED = b'{"a":' * 1_800
FAR = 4_000_000_000  # seconds since the epoch, in a century that no test sees


def our_key() -> Ed25519PrivateKey:
    """The key that access tokens are signed with."""
    return Ed25519PrivateKey.from_private_bytes(derive(settings.get().secret_key, "access token"))


def claims_of(person: Person) -> dict[str, Any]:
    """What a person's own token says."""
    claims: dict[str, Any] = jwt.decode(person.access_token, options={"verify_signature": False})
    return claims


def signed(person: Person, header: dict[str, Any] = HEADER, **changes: Any) -> str:
    """A token with the right key and a person's claims, changed; None leaves one out."""
    claims = claims_of(person) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    text = f"{part(header)}.{part(kept)}"
    return f"{text}.{part(our_key().sign(text.encode()))}"


def part(value: object) -> str:
    """A part of a token, as JSON or of bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def assert_refused(client: httpx.AsyncClient, *tokens: str) -> None:
    """None of the tokens opens anything, not even what is open to guests."""
    for token in tokens:
        for path in ("/api/v1/users/me", "/api/v1/projects"):
            answer = await client.get(path, headers={b"authorization": b"Bearer " + token.encode()})
            assert answer.status_code == 401, token[:300]
            assert answer.json()["type"] == "/problems/unauthorized"
            assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


async def assert_still_good(person: Person) -> None:
    """What was tried has done the person's own session no harm."""
    assert (await person.get("/users/me")).status_code == 200


async def test_a_token_made_like_ours_is_good(client: httpx.AsyncClient) -> None:
    """Or every refusal below might have another reason."""
    person = await sign_up(client)
    person.access_token = signed(person)
    await assert_still_good(person)
    person.access_token = signed(person, nbf=int(time.time()))
    await assert_still_good(person)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_token_is_refused(client: httpx.AsyncClient, algorithm: str) -> None:
    person = await sign_up(client)
    claims = part(claims_of(person))
    signature = person.access_token.rpartition(".")[2]
    header = part(HEADER | {"alg": algorithm})
    await assert_refused(
        client,
        f"{header}.{claims}.",
        f"{header}.{claims}",
        f"{header}.{claims}.{signature}",
        f"{person.access_token.rpartition('.')[0]}.",
        person.access_token.rpartition(".")[0],
    )
    await assert_still_good(person)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_shared_secret(
    client: httpx.AsyncClient, algorithm: str
) -> None:
    """Algorithm confusion: signing by HMAC with what everybody may know (CVE-2015-9235)."""
    person = await sign_up(client)
    public = our_key().public_key()
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    openssh = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret = derive(settings.get().secret_key, "access token")
    mac = jwt.get_algorithm_by_name(algorithm)
    for key in (raw, openssh, pem, part(raw).encode(), secret, b""):
        text = f"{part(HEADER | {'alg': algorithm})}.{part(claims_of(person))}"
        await assert_refused(client, f"{text}.{part(mac.sign(text.encode(), key))}")
    await assert_still_good(person)


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'key"},
        {"kid": 1},
        {"jku": "http://127.0.0.1:1/keys.json"},
        {"x5u": "http://127.0.0.1:1/certificate.pem"},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"typ": "JWT"},
        {"typ": "rt+jwt"},
        {"typ": "AT+JWT"},
        {"typ": "application/at+jwt"},
        {"typ": None},
        {"typ": ["at+jwt"]},
        {"alg": "ES256"},
    ],
    ids=str,
)
async def test_another_header_is_refused_even_with_the_right_signature(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    person = await sign_up(client)
    await assert_refused(client, signed(person, HEADER | changes))
    await assert_still_good(person)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "others"},
        {"aud": ["others"]},
        {"aud": ""},
        {"aud": None},
        {"iss": "others"},
        {"iss": ["mercenary"]},
        {"iss": None},
        {"exp": 1},
        {"exp": -1},
        {"exp": "later"},
        {"exp": None},
        {"iat": FAR},
        {"iat": "now"},
        {"iat": None},
        {"nbf": FAR},
        {"nbf": "later"},
        {"sub": None},
        {"sub": ""},
        {"sub": "0"},
        {"sub": "-1"},
        {"sub": "0x1"},
        {"sub": "1 OR 1=1"},
        {"sub": 1},
        {"sub": str(2**63)},
        {"sub": "9" * 4000},
        {"sid": None},
        {"sid": "1"},
        {"sid": 0},
        {"sid": -1},
        {"sid": 2**63},
        {"sid": 10**400},
        {"sid": [1]},
        {"role": "owner"},
        {"role": ""},
        {"role": ["admin"]},
        {"role": None},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_a_token_with_another_claim_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    person = await sign_up(client)
    await assert_refused(client, signed(person, **changes))
    await assert_still_good(person)


async def test_an_expired_token_is_refused_also_where_it_is_remembered(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await sign_up(client)
    await assert_still_good(person)
    expires = claims_of(person)["exp"]
    monkeypatch.setattr("mercenary.auth.tokens.time.time", lambda: float(expires))
    await assert_refused(client, person.access_token)
    monkeypatch.undo()
    await assert_still_good(person)


@pytest.mark.parametrize("changes", [{"role": "admin"}, {"sub": "1"}, {"sid": 1}, {"exp": FAR}])
async def test_a_changed_claim_breaks_the_signature(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    person = await sign_up(client)
    header, _, signature = person.access_token.split(".")
    await assert_refused(client, f"{header}.{part(claims_of(person) | changes)}.{signature}")
    await assert_still_good(person)


async def test_another_secrets_token_is_refused(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    for key in (
        Ed25519PrivateKey.generate(),
        Ed25519PrivateKey.from_private_bytes(derive("another secret", "access token")),
        Ed25519PrivateKey.from_private_bytes(derive(settings.get().secret_key, "cursor")),
        Ed25519PrivateKey.from_private_bytes(bytes(32)),
    ):
        token = jwt.encode(claims_of(person), key, algorithm="EdDSA", headers=HEADER)
        await assert_refused(client, token)
    await assert_still_good(person)


async def test_a_signature_is_good_only_as_a_whole(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    text, _, signature = person.access_token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = (await sign_up(client)).access_token.rpartition(".")[2]
    await assert_refused(
        client,
        f"{text}.{signature[:-1]}",
        f"{text}.{signature[:-4]}AAAA",
        f"{text}.{signature[1:]}",
        f"{text}.{signature}{signature}",
        f"{text}.{part(raw[:-1])}",
        f"{text}.{part(raw + bytes(1))}",
        f"{text}.{part(bytes(64))}",
        f"{text}.{part(raw[:32] + bytes(32))}",
        f"{text}.{other}",
    )
    await assert_still_good(person)


async def test_a_signature_has_one_spelling(client: httpx.AsyncClient) -> None:
    """Each other one would be verified, and remembered as a token of its own, 20,000 times over."""
    person = await sign_up(client)
    header, claims, signature = person.access_token.split(".")
    last = ALPHABET.index(signature[-1])
    spare = [signature[:-1] + ALPHABET[last + bits] for bits in range(1, 16)]
    await assert_refused(
        client,
        *(f"{header}.{claims}.{each}" for each in spare),
        f"{header}.{claims}.{signature}==",
        f"{header}.{claims}.{signature}!!!!",
        f"{header}.{claims}.!!!!{signature}",
        f"{header}.{claims}.{signature[:40]}\xa0\xa0{signature[40:]}",
        f"{header}.{claims}.{signature}{'.' * 4000}",
        f"{header}.{claims}.{signature.replace('-', '+').replace('_', '/')}=",
        f"{header}=.{claims}.{signature}",
        f"{header}.{claims}=.{signature}",
        f"{header}. {claims}.{signature}",
        f"{header}.{claims}.{signature}.",
        f".{header}.{claims}.{signature}",
        f"{person.access_token},{person.access_token}",
    )
    await assert_still_good(person)


async def test_what_is_refused_is_not_remembered(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    await assert_still_good(person)
    known = len(authenticator().verifier._known)
    await assert_refused(
        client,
        *(f"{person.access_token}{'=' * count}" for count in range(1, 20)),
        signed(person, exp=1),
        signed(person, aud="others"),
    )
    assert len(authenticator().verifier._known) == known


@pytest.mark.parametrize(
    "token",
    [
        "A" * 12_000,
        "." * 9_000,
        f"{part(b'[' * 9_000)}.e30.AAAA",
        f"{part(NESTED)}.e30.AAAA",
        f"{part(HEADER | {'kid': 'k' * 12_000})}.e30.{'A' * 86}",
        f"{part(HEADER)}.{part(b'[' * 9_000)}.{'A' * 86}",
        f"{part(b'1' * 9_000)}.e30.AAAA",
        f"{part(bytes(range(256)))}.e30.AAAA",
        "..",
        "e30.e30.e30",
        "bnVsbA.bnVsbA.bnVsbA",
        "\xe9\xe9.\xff.\xfe",
    ],
    ids=lambda token: f"{token[:12]}-{len(token)}",
)
async def test_huge_and_broken_tokens_are_refused_like_any_other(
    client: httpx.AsyncClient, token: str
) -> None:
    """As long as headers may be, that is; the door turns longer ones away."""
    await assert_refused(client, token)


async def test_a_signed_token_that_is_huge_is_refused_or_good_and_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    person = await sign_up(client)
    text = f"{person.access_token.partition('.')[0]}.{part(b'[' * 9_000)}"
    await assert_refused(client, f"{text}.{part(our_key().sign(text.encode()))}")


async def test_a_session_is_good_for_its_own_user_alone(client: httpx.AsyncClient) -> None:
    """Also in one batch with the session's owner, where all that differs is who belongs to what."""
    ada, eve = await sign_up(client), await sign_up(client, "freelancer")
    borrowed = signed(eve, sid=claims_of(ada)["sid"])
    posed = signed(ada, sid=claims_of(eve)["sid"])
    never = token_of(ada.id, "client", FAR)
    nobody = token_of(FAR, "client", claims_of(ada)["sid"])
    answers = await asyncio.gather(
        *(
            client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {token}"})
            for token in (ada.access_token, borrowed, eve.access_token, posed, never, nobody)
        )
    )
    assert [answer.status_code for answer in answers] == [200, 401, 200, 401, 401, 401]
    assert (answers[0].json()["id"], answers[2].json()["id"]) == (ada.id, eve.id)


async def test_each_kind_of_token_is_good_for_its_own_use_alone(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    swapped = await client.post(
        "/api/v1/auth/refresh", json={"refresh_token": person.access_token[:200]}
    )
    assert swapped.status_code == 401
    whole = await client.post("/api/v1/auth/refresh", json={"refresh_token": person.access_token})
    assert whole.status_code in (401, 422)
    await assert_refused(client, person.refresh_token, f"e30.{person.refresh_token}.e30")
    await assert_still_good(person)
    good = await client.post("/api/v1/auth/refresh", json={"refresh_token": person.refresh_token})
    assert good.status_code == 200


async def test_credentials_are_good_in_their_header_alone(client: httpx.AsyncClient) -> None:
    person = await sign_up(client)
    token = person.access_token
    for path in (f"/users/me?access_token={token}", f"/users/me?token={token}"):
        assert (await client.get(f"/api/v1{path}")).status_code == 401
    for headers in (
        {"Cookie": f"access_token={token}; Authorization=Bearer {token}"},
        {"X-Access-Token": token},
        {"Proxy-Authorization": f"Bearer {token}"},
        {"X-User-Id": str(person.id), "X-Role": "admin"},
    ):
        assert (await client.get("/api/v1/users/me", headers=headers)).status_code == 401
    for scheme in ("Basic", "Token", "JWT", "Bearer Bearer", "Bearer,", "Bearer:"):
        answer = await client.get(
            "/api/v1/users/me", headers={"Authorization": f"{scheme} {token}"}
        )
        assert answer.status_code == 401, scheme


@pytest.mark.parametrize("role", ["admin", "client"])
async def test_a_promoted_or_demoted_users_old_token_has_ended(
    client: httpx.AsyncClient, role: str
) -> None:
    person = await sign_up(client)
    if role == "client":
        await admins.promote(engine.current(), UserId(person.id))
        person = await sign_in(client, person.email, "a long and private word", person.user)
    other = await sign_in(client, person.email, "a long and private word", person.user)
    await assert_still_good(person)
    change = {"admin": admins.promote, "client": admins.demote}[role]
    await change(engine.current(), UserId(person.id))
    for each in (person, other):
        assert (await each.get("/users/me")).status_code == 401
        renewed = await client.post(
            "/api/v1/auth/refresh", json={"refresh_token": each.refresh_token}
        )
        assert renewed.status_code == 401
    again = await sign_in(client, person.email, "a long and private word", person.user)
    assert (await again.get("/users/me")).json()["role"] == role
