"""Every query of the product by its name.

`mercenary db explain NAME` explains one, and tests walk them all. What the commands of `mercenary
db` ask PostgreSQL's own catalogs, and what only sets something, isn't among them.
"""

from typing import Final

from mercenary.auth import queries as auth
from mercenary.cdn import queries as cdn
from mercenary.db import cleaning, idempotency, ids, invariants, outbox, positions, time_left
from mercenary.db.named import Catalogue
from mercenary.health import queries as health
from mercenary.projects import queries as projects
from mercenary.proposals import queries as proposals
from mercenary.skills import queries as skills
from mercenary.stats import queries as stats
from mercenary.users import queries as users

QUERIES: Final = Catalogue(
    (
        *(auth, users, skills, projects, proposals, stats, health, cdn),
        *(outbox, idempotency, ids, cleaning, invariants, positions, time_left),
    )
)
"""Whoever adds a module that declares queries adds it here."""
