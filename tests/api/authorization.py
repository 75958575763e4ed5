"""Who may do what, to whose things, in which state: the whole of it, to be read.

`test_authorization.py` makes every call of this table on the running application. Each endpoint
has its rows, one for every state of what it is about; an endpoint without them fails the tests.
"""

from typing import NamedTuple

# Left: somebody whose account is deactivated, with a token that hasn't expired.
ANYTHING = """
                                 guest  client  freelancer  admin  left
    register                       201     201         201    201   401
    login                          200     200         200    200   401
    refresh                        200     200         200    200   401
    logout                         401     204         204    204   401
    change_password                401     204         204    204   401
    leave                          401     204         204    204   401
    list_users                     200     200         200    200   401
    show_own_user                  401     200         200    200   401
    change_own_user                401     200         200    200   401
    replace_own_skills             401     403         200    403   401
    list_skills                    200     200         200    200   401
    show_skill                     200     200         200    200   401
    create_skill                   401     403         403    201   401
    list_projects                  200     200         200    200   401
    create_project                 401     201         403    403   401
    list_own_proposals             401     200         200    200   401
    list_skill_stats               200     200         200    200   401
    show_marketplace_stats         200     200         200    200   401
    show_liveness                  200     200         200    200   401
    show_readiness                 200     200         200    200   401
    show_health                    200     200         200    200   401
    show_openapi                   200     200         200    200   401
    show_docs                      200     200         200    200   401
    show_docs_asset                200     200         200    200   401
    show_problem                   200     200         200    200   401
"""

# About somebody: themselves, somebody of the same role, or of another.
USERS = """
                                 guest    self    stranger  other  admin
    show_user      active          200     200         200    200    200
                   deactivated     404     401         404    404    200
"""

# The stranger is another client; the bidder has made a proposal, unless it is a draft.
PROJECTS = """
                                        guest  owner  stranger  freelancer  bidder  admin  left
    show_project            draft         404    200       404         404     404    200   401
                            open          200    200       200         200     200    200   401
                            in_progress   200    200       200         200     200    200   401
                            completed     200    200       200         200     200    200   401
                            cancelled     200    200       200         200     200    200   401
    change_project          draft         401    200       404         403     403    200   401
                            open          401    200       403         403     403    200   401
                            in_progress   401    200       403         403     403    200   401
                            completed     401    200       403         403     403    200   401
                            cancelled     401    200       403         403     403    200   401
    delete_project          draft         401    204       404         403     403    204   401
                            open          401    409       403         403     403    409   401
                            in_progress   401    409       403         403     403    409   401
                            completed     401    409       403         403     403    409   401
                            cancelled     401    409       403         403     403    409   401
    submit_proposal         draft         401    403       403         404     404    403   401
                            open          401    403       403         201     409    403   401
                            in_progress   401    403       403         409     409    403   401
                            completed     401    403       403         409     409    403   401
                            cancelled     401    403       403         409     409    403   401
    list_project_proposals  draft         401    200       404         404     404    200   401
                            open          401    200       403         200     200    200   401
                            in_progress   401    200       403         200     200    200   401
                            completed     401    200       403         200     200    200   401
                            cancelled     401    200       403         200     200    200   401
"""

# The owner is the project's, the rival and the client have nothing to do with the two of them.
# An accepted proposal's project is in progress, the others' are open.
PROPOSALS = """
                                        guest  bidder  owner  rival  client  admin  left
    show_proposal           pending       401     200    200    404     404    200   401
                            accepted      401     200    200    404     404    200   401
                            rejected      401     200    200    404     404    200   401
                            withdrawn     401     200    200    404     404    200   401
    change_proposal         pending       401     200    403    404     404    403   401
                            accepted      401     409    403    404     404    403   401
                            rejected      401     409    403    404     404    403   401
                            withdrawn     401     409    403    404     404    403   401
    accept_proposal         pending       401     403    200    404     404    403   401
                            accepted      401     403    409    404     404    403   401
                            rejected      401     403    409    404     404    403   401
                            withdrawn     401     403    409    404     404    403   401
    reject_proposal         pending       401     403    200    404     404    403   401
                            accepted      401     403    409    404     404    403   401
                            rejected      401     403    409    404     404    403   401
                            withdrawn     401     403    409    404     404    403   401
"""


class Row(NamedTuple):
    """One endpoint in one state: the status that each caller gets."""

    endpoint: str
    state: str
    statuses: dict[str, int]


def rows_of(table: str) -> list[Row]:
    """Read a table: callers on its first line, an endpoint's name stands for the lines below."""
    callers, *lines = (line.split() for line in table.splitlines() if line.strip())
    rows: list[Row] = []
    for line in lines:
        words = line[: len(line) - len(callers)]
        state = words.pop() if table is not ANYTHING else ""
        name = words[0] if words else rows[-1].endpoint
        statuses = dict(zip(callers, map(int, line[-len(callers) :]), strict=True))
        rows.append(Row(name, state, statuses))
    return rows
