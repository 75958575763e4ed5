"""What is kept in Valkey, which may be emptied or lost at any moment."""
