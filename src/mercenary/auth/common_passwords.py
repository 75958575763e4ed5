"""The passwords that everybody tries, as far as they are long enough to be chosen at all."""

import re
from functools import cache
from importlib.resources import files

_TRAIL = re.compile(r"[\d!?.@#$*_-]+\Z")


@cache
def _listed() -> frozenset[str]:
    text = files(__package__).joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def is_common(password: str) -> bool:
    """Whether a password is on the list, without regard to case or to digits and marks behind it.

    One character over and over, and a short piece repeated, count as listed.
    """
    plain = password.casefold()
    for length in range(1, 5):
        if len(plain) >= 3 * length and plain == (plain[:length] * len(plain))[: len(plain)]:
            return True
    listed = _listed()
    return plain in listed or _TRAIL.sub("", plain) in listed
