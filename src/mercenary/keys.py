"""Keys for each purpose, all from the one secret of the settings.

Derived by HKDF-SHA256 (RFC 5869), so that a token's key tells nothing about a cursor's.
"""

from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


@lru_cache(maxsize=32)
def derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose, the same in every process that has the same secret."""
    kdf = HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"mercenary {purpose}".encode()
    )
    return kdf.derive(secret.encode())
