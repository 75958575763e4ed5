"""Names that are searched for by their beginning, or by one that is misspelt: skills."""

from sqlalchemy import ColumnElement, func, or_


def begins_with(name: ColumnElement[str], words: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a name begins with these words, whatever their case."""
    return func.starts_with(func.lower(name), func.lower(words))


def resembles(name: ColumnElement[str], words: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a name begins with these words or is at least 0.3 alike.

    The bound is the default of pg_trgm.similarity_threshold.
    """
    return or_(begins_with(name, words), name.bool_op("%")(words))
