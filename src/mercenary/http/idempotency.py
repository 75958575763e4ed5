"""`Idempotency-Key`: how a request claims a key, and how the answer it got is kept from strangers.

A key belongs to its caller and its route. Of the request only a digest is stored, and the answer
is sealed by a key that comes from the request itself: whoever reads the database, and even knows
our secret, can't open the tokens that a sign-in was answered with. Both hold the caller's key,
which nobody else knows, so that a stored digest is no way to try passwords on.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.types import Scope

from mercenary import settings
from mercenary.db.batches import read_batch
from mercenary.db.idempotency import GUEST_ID, Claim, current_claim, select_answers
from mercenary.errors import Invalid
from mercenary.http.access import Caller
from mercenary.keys import derive

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotency-replayed", b"true")
MAX_KEY: Final = 255
_VISIBLE: Final = frozenset(range(0x21, 0x7F))
_KEY_BYTES: Final = 16
_FINGERPRINT_BYTES: Final = 16
_SEAL_BYTES: Final = 32
_NONCE_BYTES: Final = 12

find_answer = read_batch(select_answers)


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it was sent: status, headers, body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(KeptAnswer)


class KeyedRequest:
    """A request under a key: its claim, and what opens the answer that it got before.

    `answer_of` makes the answer of what the write gives. It is asked within the transaction, and
    `answer` then holds what goes to the caller once that is committed.
    """

    def __init__(
        self,
        scope: Scope,
        key: bytes,
        body: bytes,
        answer_of: Callable[[Any], KeptAnswer],
    ) -> None:
        caller: Caller = scope["caller"]
        secret = settings.get().secret_key
        route = scope["invocation"].endpoint.route.encode()
        # Guests are told apart by address: one must not be refused for a key that another uses.
        owner = scope["client_address"].encode() if caller.id is None else b""
        # Lengths lead, so that no byte can move from one part to the next.
        target = scope["path"].encode() + b"?" + scope["query_string"]
        digest = blake2b(
            b"%d %d %b%b%b" % (len(key), len(target), key, target, body),
            key=derive(secret, "idempotent request"),
            digest_size=_FINGERPRINT_BYTES + _SEAL_BYTES,
        ).digest()
        self._seal = AESGCM(digest[_FINGERPRINT_BYTES:])
        name = blake2b(
            b"%d %d %b%b%b" % (len(owner), len(route), owner, route, key),
            key=derive(secret, "idempotency key"),
            digest_size=_KEY_BYTES,
        ).digest()
        self.claim = Claim(
            (caller.id or GUEST_ID, name),
            digest[:_FINGERPRINT_BYTES],
            self._closed,
        )
        self._answer_of = answer_of
        self.answer: KeptAnswer | None = None

    async def before(self) -> KeptAnswer | None:
        """The answer that this request got before, if it was carried out.

        Raises:
            IdempotencyKeyReused: the key was used for another request.
        """
        stored = await find_answer(self.claim.key)
        return None if stored is None else self.opened(stored.for_request(self.claim.fingerprint))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the block's write under the claim."""
        token = current_claim.set(self.claim)
        try:
            yield
        finally:
            current_claim.reset(token)

    def opened(self, sealed: bytes) -> KeptAnswer:
        """What an answer's seal holds."""
        nonce, closed = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return _decoder.decode(self._seal.decrypt(nonce, closed, None))

    def _closed(self, outcome: Any) -> bytes:
        self.answer = self._answer_of(outcome)
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, _encoder.encode(self.answer), None)


def key_of(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The request's key, if it has one.

    Raises:
        Invalid: it isn't 1 to 255 visible ASCII characters, or there are several.
    """
    keys = [value for name, value in headers if name == HEADER]
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= MAX_KEY or not _VISIBLE.issuperset(key):
        raise Invalid.at(
            "Idempotency-Key", f"Expected one key of 1 to {MAX_KEY} visible ASCII characters"
        )
    return key
