"""Statistics: what the marketplace comes to, gathered now and then and read by key."""
