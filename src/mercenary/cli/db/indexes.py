"""`mercenary db indexes`: which are missing, unused, duplicate or invalid."""

import click
from rich.console import Group, RenderableType

from mercenary.cli.db.showing import as_json_option, ask, bytes_text, show, table_of
from mercenary.db.inspection.indexes import MANY_ROWS, Indexes, indexes


@click.command()
@as_json_option
def command(as_json: bool) -> None:
    """Show indexes that are missing, unused, duplicate or invalid, and what to do.

    Unused is what this server's statistics don't know of: look how old they are, and at the
    replicas. For indexes with empty room see `mercenary db bloat`.
    """
    show(ask(indexes), _tables, as_json=as_json)


def _tables(found: Indexes) -> RenderableType:
    shown: list[RenderableType] = []
    if found.read_whole:
        shown.append(
            table_of(
                f"Perhaps missing: tables read from end to end, {MANY_ROWS:,} rows and more a time",
                ("table", "#times", "#rows each time"),
                [(each.table, f"{each.scans:,}", f"{each.rows:,}") for each in found.read_whole],
            )
        )
    if found.foreign_keys:
        shown.append(
            table_of(
                "Missing: foreign keys that no index begins with, so that deletes read the table",
                ("table", "key", "what to do"),
                [(each.table, each.name, each.remedy) for each in found.foreign_keys],
            )
        )
    if found.unused:
        since = f"{found.since:%Y-%m-%d %H:%M} UTC" if found.since else "the beginning"
        shown.append(
            table_of(
                f"Unused since {since}",
                ("table", "index", "#size", "serves", "what to do"),
                [
                    (each.table, each.name, bytes_text(each.bytes), each.serves or "", each.remedy)
                    for each in found.unused
                ],
            )
        )
    if found.duplicate:
        shown.append(
            table_of(
                "Duplicate: another one begins alike",
                ("table", "index", "covered by", "#size", "what to do"),
                [
                    (each.table, each.name, each.covered_by, bytes_text(each.bytes), each.remedy)
                    for each in found.duplicate
                ],
            )
        )
    if found.invalid:
        shown.append(
            table_of(
                "Invalid: their making was cut off",
                ("table", "index", "what to do"),
                [(each.table, each.name, each.remedy) for each in found.invalid],
            )
        )
    return Group(*shown) if shown else "Nothing is wrong with the indexes."
