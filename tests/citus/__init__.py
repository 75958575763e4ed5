"""What Citus asks of statements and keys, held without a Citus: it can't be installed everywhere.

`tests/cluster` asks a real one.
"""
