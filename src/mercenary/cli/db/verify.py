"""`mercenary db verify`: whether a backup can be restored; see `backup`."""

from mercenary.cli.db.backup import verify as command

__all__ = ["command"]
