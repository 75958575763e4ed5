"""Settings for servers that tests ask much of, all from one address.

Hashes as cheap as Argon2 allows, and limits that nobody meets.
"""

from typing import Final

GENEROUS: Final = {
    "MERCENARY_ARGON2_MEMORY_KIB": "8",
    "MERCENARY_ARGON2_TIME_COST": "1",
    "MERCENARY_GUEST_LIMIT": "1000000",
    "MERCENARY_USER_LIMIT": "1000000",
    "MERCENARY_SENSITIVE_LIMIT": "1000000",
    "MERCENARY_LOGIN_FAILURES": "1000000",
    "MERCENARY_LOGIN_FAILURES_BY_ADDRESS": "1000000",
}
