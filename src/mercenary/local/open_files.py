"""The limit of open files, which connections count against (setrlimit(2), RLIMIT_NOFILE).

Systems start processes with a low soft limit, often 1,024, that any process may raise to the hard
one. Children inherit it.
"""

import resource


def allow_open_files(wanted: int) -> int:
    """Let this process open so many files, as far as the system has it; gives how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
