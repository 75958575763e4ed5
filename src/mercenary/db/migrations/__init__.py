"""Changes of the schema, in order. `mercenary.db.migrate` runs them."""
