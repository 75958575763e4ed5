"""What becomes of a change: the outbox's rows, handed on to all who must act on them."""
