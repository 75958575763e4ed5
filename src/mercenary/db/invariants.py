"""What must be true of the rows and no constraint can say: each truth recounted, a range at a time.

A truth is a name and a statement that returns what violates it among the rows whose ids are above
`after` and not above `upto`. So a table of any size is looked through in short statements, each of
which sees one moment: writers go on meanwhile, and a row that is wrong is wrong. `mercenary db
check` runs them; whoever adds a table that repeats something adds a truth to `INVARIANTS`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

# Ids that one statement looks at: some 50 ms with four proposals each.
AT_ONCE: Final = 10_000
# Violations that are shown of each invariant; all are counted.
SAMPLE: Final = 20


class Invariant(msgspec.Struct, frozen=True):
    """A truth about the rows of `table`, whose ids are what `violations` is asked by.

    The statement's columns are `subject` (a resource such as project:17), `stored` and `true`.
    """

    name: str
    table: str
    says: str
    violations: TextClause


class Violation(msgspec.Struct, frozen=True):
    """A row that says something else than what it repeats."""

    subject: str
    stored: str
    true: str


class Checked(msgspec.Struct, frozen=True):
    """What became of checking an invariant: all violations by number, and the first of them."""

    name: str
    says: str
    violations: int
    sample: Sequence[Violation]


INVARIANTS: Final = (
    Invariant(
        "project_tallies",
        "projects",
        "proposal_count and lowest_bid are those of the proposals that weren't withdrawn",
        text("""
            SELECT 'project:' || p.id AS subject,
                   concat_ws(', from ', p.proposal_count, p.lowest_bid) AS stored,
                   concat_ws(', from ', coalesce(t.proposal_count, 0), t.lowest_bid) AS true
            FROM projects p LEFT JOIN (
                SELECT project_id, count(*) AS proposal_count, min(bid) AS lowest_bid
                FROM proposals
                WHERE project_id > :after AND project_id <= :upto AND status <> 'withdrawn'
                GROUP BY project_id
            ) t ON t.project_id = p.id
            WHERE p.id > :after AND p.id <= :upto
              AND (p.proposal_count <> coalesce(t.proposal_count, 0)
                   OR p.lowest_bid IS DISTINCT FROM t.lowest_bid)
            ORDER BY p.id
        """),
    ),
    # One row for each client and wrong name: the first project, and how many are like it. An
    # account that is being erased loses its name from its projects first, in turns.
    Invariant(
        "project_client_names",
        "projects",
        "client_name is the client's name in users",
        text("""
            WITH named AS MATERIALIZED (
                SELECT client_id, client_name, min(id) AS id, count(*) AS projects
                FROM projects WHERE id > :after AND id <= :upto
                GROUP BY client_id, client_name
            )
            SELECT 'project:' || n.id || CASE WHEN n.projects > 1
                       THEN ' and ' || n.projects - 1 || ' more' ELSE '' END AS subject,
                   n.client_name AS stored, u.name AS true
            FROM named n JOIN users u ON u.id = n.client_id
            WHERE n.client_name <> u.name
              AND NOT (n.client_name = 'Erased user' AND NOT u.is_active)
            ORDER BY n.id
        """),
    ),
)

_VIOLATIONS: Final = {each.name: each.violations for each in INVARIANTS}
_BOUNDS: Final = {
    each.table: text(f"SELECT min(id), max(id) FROM {each.table}")  # noqa: S608 - names of ours
    for each in INVARIANTS
}


async def check(
    db: AsyncConnection, invariant: Invariant, *, at_once: int = AT_ONCE, sample: int = SAMPLE
) -> Checked:
    """Look through all rows there are when it begins, `at_once` ids a statement and transaction."""
    first, last = (await db.execute(_BOUNDS[invariant.table])).one()
    count, found = 0, list[Violation]()
    for after in range((first or 1) - 1, last or 0, at_once):
        asked = {"after": after, "upto": after + at_once}
        rows = (await db.execute(_VIOLATIONS[invariant.name], asked)).all()
        await db.commit()  # so that no snapshot is as old as the check
        count += len(rows)
        found += [Violation(*row) for row in rows[: sample - len(found)]]
    return Checked(invariant.name, invariant.says, count, found)
