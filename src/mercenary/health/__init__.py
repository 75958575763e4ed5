"""Health: whether the process lives, whether it can serve, and how the servers behind it are."""
