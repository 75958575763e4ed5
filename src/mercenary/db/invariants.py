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
    """A truth about the rows of `table`, whose numbers in `key` are what `violations` is asked by.

    The statement's columns are `subject` (a resource such as project:17), `stored` and `true`.
    """

    name: str
    table: str
    says: str
    violations: TextClause
    key: str = "id"


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
        "client_id is a user's, and client_name the name that the user has",
        text("""
            WITH named AS MATERIALIZED (
                SELECT client_id, client_name, min(id) AS id, count(*) AS projects
                FROM projects WHERE id > :after AND id <= :upto
                GROUP BY client_id, client_name
            ), known AS MATERIALIZED (
                SELECT id, name, is_active FROM users WHERE id IN (SELECT client_id FROM named)
            )
            SELECT 'project:' || n.id || CASE WHEN n.projects > 1
                       THEN ' and ' || n.projects - 1 || ' more' ELSE '' END AS subject,
                   n.client_name AS stored, coalesce(u.name, 'nobody') AS true
            FROM named n LEFT JOIN known u ON u.id = n.client_id
            WHERE n.client_name IS DISTINCT FROM u.name
              AND NOT (n.client_name = 'Erased user' AND u.id IS NOT NULL AND NOT u.is_active)
            ORDER BY n.id
        """),
    ),
    # What foreign keys and a unique index hold on one server, and nobody on a cluster.
    Invariant(
        "proposal_freelancers",
        "proposals",
        "freelancer_id is a user's",
        text("""
            WITH bidders AS MATERIALIZED (
                SELECT freelancer_id, min(id) AS id FROM proposals
                WHERE id > :after AND id <= :upto
                GROUP BY freelancer_id
            ), known AS MATERIALIZED (
                SELECT id FROM users WHERE id IN (SELECT freelancer_id FROM bidders)
            )
            SELECT 'proposal:' || b.id AS subject, 'user:' || b.freelancer_id AS stored,
                   'nobody' AS true
            FROM bidders b LEFT JOIN known u ON u.id = b.freelancer_id
            WHERE u.id IS NULL
            ORDER BY b.id
        """),
    ),
    Invariant(
        "credential_users",
        "credentials",
        "user_id is a user's who has this e-mail address",
        text("""
            WITH claimed AS MATERIALIZED (
                SELECT user_id, email FROM credentials WHERE user_id > :after AND user_id <= :upto
            ), known AS MATERIALIZED (
                SELECT id, lower(email) AS email FROM users WHERE id > :after AND id <= :upto
            )
            SELECT 'user:' || c.user_id AS subject, 'an address is claimed' AS stored,
                   CASE WHEN u.id IS NULL THEN 'nobody' ELSE 'another address' END AS true
            FROM claimed c LEFT JOIN known u ON u.id = c.user_id
            WHERE c.email IS DISTINCT FROM u.email
            ORDER BY c.user_id
        """),
        key="user_id",
    ),
    Invariant(
        "user_addresses",
        "users",
        "an e-mail address is claimed by its user in credentials, and so by one alone",
        text("""
            WITH known AS MATERIALIZED (
                SELECT id, lower(email) AS email FROM users
                WHERE id > :after AND id <= :upto AND email IS NOT NULL
            ), claimed AS MATERIALIZED (
                SELECT user_id, email FROM credentials WHERE user_id > :after AND user_id <= :upto
            )
            SELECT 'user:' || u.id AS subject, 'has an address' AS stored,
                   'has claimed none' AS true
            FROM known u LEFT JOIN claimed c ON c.user_id = u.id AND c.email = u.email
            WHERE c.email IS NULL
            ORDER BY u.id
        """),
    ),
)

_VIOLATIONS: Final = {each.name: each.violations for each in INVARIANTS}
_BOUNDS: Final = {
    each.table: text(f"SELECT min({each.key}), max({each.key}) FROM {each.table}")  # noqa: S608
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


async def check_all(db: AsyncConnection) -> Sequence[Checked]:
    """Look through all invariants, one after the other."""
    return [await check(db, each) for each in INVARIANTS]
