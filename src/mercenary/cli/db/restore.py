"""`mercenary db restore`: a backup into a new database; see `backup`."""

from mercenary.cli.db.backup import restore as command

__all__ = ["command"]
