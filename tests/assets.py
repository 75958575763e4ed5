"""The names under which the docs page's files are served."""

from mercenary.reference.files import files


def served_name(name: str) -> str:
    """The name of a file with its digest in it: `docs.js` → `docs.0123456789abcdef.js`."""
    stem, _, suffix = name.partition(".")
    (found,) = [
        each for each in files() if each.startswith(f"{stem}.") and each.endswith(f".{suffix}")
    ]
    return found


SCRIPT = served_name("docs.js")
