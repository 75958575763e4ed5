"""Say in one line what is wrong with the Python that `make` was given, if anything is.

It has to run on the very versions it turns down, so it is written for Python 2.7 and later.
"""

# ruff: noqa: UP032, UP036

import sys


def complaint():
    # type: () -> str | None
    """Find what is missing, in words for a user; None when all is there."""
    version = "{}.{}".format(*sys.version_info[:2])
    if sys.version_info < (3, 11):
        return (
            "Python 3.11 or newer is needed, and {} is {}; try make PYTHON=python3.12 ...".format(
                sys.executable, version
            )
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "this Python can't make environments; install them: apt install python3-venv"
    return None


if __name__ == "__main__":
    found = complaint()
    if found:
        sys.exit("make: " + found)
